"""Which weights are kept: each stage's best, means of late epochs, mixtures with the untouched ones; dev decides.

Means of late epochs forget less of what the single epochs' noise took away (Izmailov et al. 2018); a share of the
untouched weights keeps what the checkpoint knew of speech that a small corpus lacks (Wortsman et al. 2022, WiSE-FT).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.adaptation.training.stages import find_stage_checkpoint, list_last_epoch_weights
from speechxfer.models import SpeechModel
from speechxfer.models.seq2seq import WhisperRecogniser

StateDict = dict[str, Tensor]
NUM_BEAM_CANDIDATES = 3  # candidates that are heard once more, by the decoding that the model will be used with


@dataclass
class Candidate:
    """A model that may be kept, with its error rates on the dev part.

    dev: greedy, as every candidate is heard. dev_beam: by the recipe's beam, of the few best; None of the others. Of a
    joint model that was chosen, the beam is the one weighed with its CTC head.
    """

    name: str
    dev: float
    dev_beam: float | None = None

    @property
    def dev_as_decoded(self) -> float:
        """The error rate as the model will decode: greedily, where the beam errs more or was not heard."""
        return self.dev if self.dev_beam is None else min(self.dev, self.dev_beam)


def select_weights(
    trainee: StagedModule,
    stages: Sequence[dict[str, Any]],
    folder: RunDir,
    judge: Evaluator,
    untouched: SpeechModel | None,
) -> list[Candidate]:
    """Measure every candidate on dev; the trainee ends with the best one's weights, which is the first in the list.

    stages: the report's entries. Of equals the later stage, the mean and the mixture are preferred: they have adapted
    more, or forgotten less, for the same figure. Where Whisper's decoder is to search by beam, the `NUM_BEAM_CANDIDATES` best
    are heard so too, and the best of those is chosen: what is right greedily is not always what a beam finds. A beam
    that errs more than the same weights do greedily is not used.
    """
    best = min(reversed(range(len(stages))), key=lambda number: stages[number]["dev"])
    found: list[tuple[Candidate, Callable[[], StateDict]]] = [
        (
            Candidate(f"stage {number}", entry["dev"]),
            partial(_load_checkpoint, trainee, find_stage_checkpoint(folder, number, entry)),
        )
        for number, entry in enumerate(stages)
    ]
    chosen = found[best]

    def measure(name: str, make: Callable[[], StateDict]) -> None:
        nonlocal chosen
        trainee.load_state_dict(make())
        candidate = Candidate(name, judge.evaluate_dev(trainee.model, f"{name}, dev"))
        judge.reporter.info(f"{name}: dev {candidate.dev:.1%}")
        found.append((candidate, make))
        if candidate.dev <= chosen[0].dev:
            chosen = found[-1]

    late = list_last_epoch_weights(folder, best)
    for count in judge.recipe.candidates.means:
        if count <= len(late):
            measure(
                f"stage {best}, mean of its last {count} epochs", partial(average_checkpoints, trainee, late[-count:])
            )
    if untouched is not None and isinstance(trainee.model, WhisperRecogniser) and not trainee.lora:
        adapted, name = chosen[1](), chosen[0].name
        before = _pretrained_weights(trainee, trainee.model, untouched)
        for share in judge.recipe.candidates.pretrained_share:
            measure(f"{name}, {share:.0%} untouched", partial(interpolate_weights, adapted, before, share))
    if isinstance(trainee.model, WhisperRecogniser) and trainee.model.settings.beam_size > 1:
        latest_first = found[::-1]
        finalists = sorted(latest_first, key=lambda one: one[0].dev)[:NUM_BEAM_CANDIDATES]
        for candidate, make in finalists:
            trainee.load_state_dict(make())
            candidate.dev_beam = judge.evaluate_dev_with_beam(trainee.model, f"{candidate.name}, dev by beam")
            judge.reporter.info(f"{candidate.name}: dev by beam {candidate.dev_beam:.1%}")
        chosen = min(finalists, key=lambda one: one[0].dev_as_decoded)
        if chosen[0].dev_beam != chosen[0].dev_as_decoded:
            trainee.model.settings.beam_size = 1
            judge.reporter.info("the beam errs more than the best path")
    trainee.load_state_dict(chosen[1]())
    return [chosen[0], *(candidate for candidate, _ in found if candidate is not chosen[0])]


def _load_checkpoint(trainee: StagedModule, checkpoint: Path) -> StateDict:
    trainee.load_checkpoint(checkpoint)
    return _copy_state_dict(trainee)


def average_checkpoints(trainee: StagedModule, checkpoints: Sequence[Path]) -> StateDict:
    """The mean of checkpoints' weights, in double precision. The trainee is left with the last one's."""
    total: StateDict = {}
    for path in checkpoints:
        trainee.load_checkpoint(path)
        for name, weight in trainee.state_dict().items():
            total[name] = weight.detach().cpu().double() + total.get(name, 0)
    dtypes = {name: weight.dtype for name, weight in trainee.state_dict().items()}
    return {name: (weight / len(checkpoints)).to(dtypes[name]) for name, weight in total.items()}


def interpolate_weights(adapted: StateDict, untouched: StateDict, share: float) -> StateDict:
    """`share` of the untouched weights and the rest of the adapted; a new head has no untouched weights and stays."""
    return {
        name: torch.lerp(weight, untouched[name], share) if name in untouched else weight
        for name, weight in adapted.items()
    }


def _copy_state_dict(trainee: StagedModule) -> StateDict:
    return {name: weight.detach().cpu().clone() for name, weight in trainee.state_dict().items()}


def _pretrained_weights(trainee: StagedModule, model: WhisperRecogniser, untouched: SpeechModel) -> StateDict:
    """The untouched Whisper's weights under the names that the trainee gives its own."""
    place = next(name for name, module in trainee.named_modules() if module is model.whisper)
    assert isinstance(untouched, WhisperRecogniser)
    weights = untouched.whisper.state_dict()
    return {f"{place}.{name}": weight.detach().cpu() for name, weight in weights.items()}
