"""Learning curve: the recipe trained on a quarter and on half of the training split, to estimate the gain of more data.

A subset goes through the same stages, epochs and model selection as the whole split and is evaluated on dev. A smaller
subset is part of a larger one. The head has the characters or labels of the whole split at every size.
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
from speechxfer.adaptation.data.splits import DataSplits
from speechxfer.adaptation.predictions import drop_columns
from speechxfer.adaptation.run_dir import RunDir, translate_os_errors
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.selection.model_selection import select_weights
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.joining import UtteranceJoiner
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.adaptation.training.stages import train_stages
from speechxfer.atomic import write_text_atomically
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.errors import UserError
from speechxfer.models import build_trainable

SUBSET_SHARES = (0.25, 0.5)
POINT_FILE = "point.json"  # in a subset's directory once it has been evaluated; `--resume` skips it then


@dataclass(frozen=True)
class Subset:
    """Rows of the training split, in its order. share: requested share of its seconds (whole speakers are taken)."""

    share: float
    rows: list[int]
    seconds: float

    @property
    def dir_name(self) -> str:
        return f"{100 * self.share:g}"

    def to_point(self, dev: float) -> dict[str, Any]:
        """Return the report's entry. dev: error rate on dev."""
        return {"share": self.share, "hours": self.seconds / 3600, "utterances": len(self.rows), "dev": dev}


def make_subsets(train: Dataset, group: str, seed: int) -> list[Subset]:
    """Make subsets of a quarter, a half and the whole of the training split, by seconds, each part of the next.

    Whole values of column `group` are taken in a seeded order, as many as come nearest to the share; single utterances
    if there is no such column or too few values.

    Raises:
        UserError: if there are too few utterances.
    """
    lengths = [audio.measure_duration(row) for row in drop_columns(train, "text")]
    by_group: dict[str, list[int]] = {}
    values = train[group] if group in train.column_names else [None] * len(train)
    for row, value in enumerate(values):  # an utterance without a value is a group of its own
        by_group.setdefault(f"{group} {value}" if value else f"row {row}", []).append(row)
    units = sorted(by_group.values())
    if len(units) <= len(SUBSET_SHARES):
        units = [[row] for row in range(len(train))]
    if len(units) <= len(SUBSET_SHARES):
        raise UserError(f"{len(train)} training utterances are too few for a learning curve", where="data.train")
    random.Random(seed).shuffle(units)
    cumulative = list(accumulate(sum(lengths[row] for row in unit) for unit in units))
    subsets, size = [], 0
    for index, share in enumerate(SUBSET_SHARES):
        # at least one unit more than the smaller subset, and one left for each larger one
        counts = range(size + 1, len(units) - len(SUBSET_SHARES) + index + 1)
        size = min(counts, key=lambda count: abs(cumulative[count - 1] - share * cumulative[-1]))
        rows = sorted(row for unit in units[:size] for row in unit)
        subsets.append(Subset(share, rows, cumulative[size - 1]))
    return [*subsets, Subset(1.0, list(range(len(train))), cumulative[-1])]


def train_subsets(
    subsets: Sequence[Subset], targets: Sequence[list[int]], evaluator: Evaluator, run_dir: RunDir, *, resume: bool
) -> list[dict[str, Any]]:
    """Train the recipe on each subset, in a directory of its own that keeps no weights; returns the report's entries.

    targets: target ids of the whole training split.
    """
    return [
        _train_subset(subset, targets, evaluator, run_dir.make_subset_dir(subset.dir_name), resume)
        for subset in subsets
    ]


def _train_subset(
    subset: Subset, targets: Sequence[list[int]], evaluator: Evaluator, subset_dir: RunDir, resume: bool
) -> dict[str, Any]:
    recipe, reporter, point_file = evaluator.recipe, evaluator.reporter, subset_dir.path / POINT_FILE
    title = f"learning curve, {subset.share:.0%} of the training split"
    if distributed.run_on_main(lambda: resume and point_file.is_file()):
        point = json.loads(point_file.read_text(encoding="utf-8"))
        reporter.info(f"{title}: already done, dev {evaluator.show_dev(point['dev'])}")
        return point
    reporter.info(f"{title}: {len(subset.rows):,} utterances, {subset.seconds / 3600:.2f} h")
    set_seed(recipe.seed)  # the new head has the same initial weights as with the whole split
    model = build_trainable(recipe, evaluator.splits.texts)
    staged = StagedModule(model, recipe.augment, recipe.lora)
    splits = _select_rows(evaluator.splits, subset)
    augmenter = WaveformAugmenter(recipe.augment, max_samples=model.encoder.max_samples)
    rows = [targets[row] for row in subset.rows]
    dataset = TrainingDataset(splits.train, rows, augmenter, recipe.seed, joiner=UtteranceJoiner(model))
    subset_evaluator = Evaluator(recipe, splits, reporter)
    with translate_os_errors(subset_dir.path):
        subset_dir.checkpoints.mkdir(parents=True, exist_ok=True)
    stages = train_stages(staged, dataset, subset_evaluator, subset_dir, resume=resume)

    selected, *_ = select_weights(staged, stages, subset_dir, subset_evaluator, evaluator.zero_shot)
    point = subset.to_point(selected.dev)
    distributed.wait_for_all()  # until each process has read the last checkpoint
    if distributed.get_rank() == 0:
        with translate_os_errors(subset_dir.path):
            write_text_atomically(point_file, json.dumps(point) + "\n")
            shutil.rmtree(subset_dir.checkpoints)
    reporter.info(f"{title}: dev {evaluator.show_dev(selected.dev)}")
    return point


def _select_rows(splits: DataSplits, subset: Subset) -> DataSplits:
    """Return the splits with the subset's rows as the training split."""
    return replace(splits, train=splits.train.select(subset.rows), texts=[splits.texts[row] for row in subset.rows])
