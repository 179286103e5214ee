"""A learning curve: the same recipe on a quarter and on half of the training part, to see what more speech would bring.

A portion goes through the same stages and epochs and the same choice of weights as the whole, and is measured on dev
alone. The smaller portion is part of the larger one. A head has the letters or labels of the whole part at every size.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from datasets import Dataset
from transformers import set_seed

from speechxfer import distributed
from speechxfer.adaptation.predictions import drop_columns
from speechxfer.adaptation.run_dir import RunDir, translate_os_errors, write_atomically
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.selection.model_selection import select_weights
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.adaptation.training.stages import train_stages
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel, build_trainable

SUBSET_SHARES = (0.25, 0.5)
POINT_FILE = "point.json"  # in a portion's folder once it has been measured: what `--resume` skips


@dataclass(frozen=True)
class Subset:
    """Rows of the training part, in its order. share: of its seconds, as asked for; whole speakers come near it."""

    share: float
    rows: list[int]
    seconds: float

    @property
    def dir_name(self) -> str:
        return f"{100 * self.share:g}"

    def to_point(self, dev: float) -> dict[str, Any]:
        """What the report says of it."""
        return {"share": self.share, "hours": self.seconds / 3600, "utterances": len(self.rows), "dev": dev}


def make_subsets(train: Dataset, group: str, seed: int) -> list[Subset]:
    """A quarter, a half and the whole of the training part, by seconds; each is part of the next.

    Whole values of column `group` are taken, in a seeded order, as many as come nearest to the share; single utterances
    where the column is not there or has fewer values than portions. Raises UserError where utterances are as few.
    """
    lengths = [audio.measure_duration(row) for row in drop_columns(train, "text")]
    of_group: dict[str, list[int]] = {}
    named = train[group] if group in train.column_names else [None] * len(train)
    for row, value in enumerate(named):  # who is not named may be anyone
        of_group.setdefault(f"{group} {value}" if value else f"row {row}", []).append(row)
    units = sorted(of_group.values())
    if len(units) <= len(SUBSET_SHARES):
        units = [[row] for row in range(len(train))]
    if len(units) <= len(SUBSET_SHARES):
        raise UserError(f"{len(train)} training utterances are too few for a learning curve", where="data.train")
    random.Random(seed).shuffle(units)
    reached = list(accumulate(sum(lengths[row] for row in unit) for unit in units))
    found, most = [], 0
    for place, share in enumerate(SUBSET_SHARES):
        # at least one unit more than the smaller portion has, and one left for each larger one
        counts = range(most + 1, len(units) - len(SUBSET_SHARES) + place + 1)
        most = min(counts, key=lambda count: abs(reached[count - 1] - share * reached[-1]))
        rows = sorted(row for unit in units[:most] for row in unit)
        found.append(Subset(share, rows, reached[most - 1]))
    return [*found, Subset(1.0, list(range(len(train))), reached[-1])]


def train_subsets(
    smaller: Sequence[Subset],
    targets: Sequence[list[int]],
    judge: Evaluator,
    folder: RunDir,
    untouched: SpeechModel | None,
    *,
    resume: bool,
) -> list[dict[str, Any]]:
    """Train the judge's recipe on each portion, in a folder of its own; the report's entry of each.

    targets: of the whole training part. A portion's weights are removed once it has been measured.
    """
    return [
        _train_subset(portion, targets, judge, folder.make_subset_dir(portion.dir_name), untouched, resume)
        for portion in smaller
    ]


def _train_subset(
    portion: Subset,
    targets: Sequence[list[int]],
    judge: Evaluator,
    place: RunDir,
    untouched: SpeechModel | None,
    resume: bool,
) -> dict[str, Any]:
    recipe, material, narrator = judge.recipe, judge.splits, judge.reporter
    title = f"learning curve, {portion.share:.0%} of the training part"
    if distributed.run_on_main(lambda: resume and (place.path / POINT_FILE).is_file()):
        point = json.loads((place.path / POINT_FILE).read_text(encoding="utf-8"))
        narrator.info(f"{title}: done before, dev {point['dev']:.1%}")
        return point
    narrator.info(f"{title}: {len(portion.rows):,} utterances, {portion.seconds / 3600:.2f} h")
    set_seed(recipe.seed)  # the new head starts as the whole part's did
    model = build_trainable(recipe, material.texts)
    trainee = StagedModule(model, recipe.augment, recipe.lora)
    part = replace(
        material,
        train=material.train.select(portion.rows),
        texts=[material.texts[row] for row in portion.rows],
    )
    augment = WaveformAugmenter(recipe.augment, longest=model.encoder.max_samples)
    utterances = TrainingDataset(part.train, [targets[row] for row in portion.rows], augment, recipe.seed)
    judge = Evaluator(recipe, part, narrator)
    with translate_os_errors(place.path):
        place.checkpoints.mkdir(parents=True, exist_ok=True)
    stages = train_stages(trainee, utterances, judge, place, resume=resume)

    chosen, *_ = select_weights(trainee, stages, place, judge, untouched)
    point = portion.to_point(chosen.dev)
    distributed.wait_for_all()  # until each has read the last of the checkpoints
    if distributed.get_rank() == 0:
        with translate_os_errors(place.path):
            write_atomically(place.path / POINT_FILE, json.dumps(point) + "\n")
            shutil.rmtree(place.checkpoints)
    narrator.info(f"{title}: dev {chosen.dev:.1%}")
    return point
