"""Which weights are kept: each stage's best, means of late epochs, mixtures with the untouched ones; dev decides.

Means of late epochs forget less of what the single epochs' noise took away (Izmailov et al. 2018); a share of the
untouched weights keeps what the checkpoint knew of speech that a small corpus lacks (Wortsman et al. 2022, WiSE-FT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechxfer.adaptation.folder import RunFolder
from speechxfer.adaptation.judge import Judge
from speechxfer.adaptation.stages import checkpoint_of, late_weights
from speechxfer.adaptation.trainee import Trainee
from speechxfer.models import SpeechModel
from speechxfer.models.seq2seq import WhisperRecogniser

Weights = dict[str, Tensor]


@dataclass
class Candidate:
    """A model that may be kept, with its error rate on the dev part."""

    name: str
    dev: float


def choose_weights(
    trainee: Trainee, stages: Sequence[dict[str, Any]], folder: RunFolder, judge: Judge, untouched: SpeechModel | None
) -> list[Candidate]:
    """Measure every candidate on dev; the trainee ends with the best one's weights, which is the first in the list.

    stages: the report's entries. Of equals the later stage, the mean and the mixture are preferred: they have adapted
    more, or forgotten less, for the same figure.
    """
    best = min(reversed(range(len(stages))), key=lambda number: stages[number]["dev"])
    if best != len(stages) - 1:
        trainee.restore(checkpoint_of(folder, best, stages[best]))
    found = [Candidate(f"stage {number}", entry["dev"]) for number, entry in enumerate(stages)]
    chosen, kept = found[best], _weights_of(trainee)

    def measure(name: str, weights: Weights) -> None:
        nonlocal chosen, kept
        trainee.load_state_dict(weights)
        candidate = Candidate(name, judge.dev(trainee.model, f"{name}, dev"))
        judge.narrator.say(f"{name}: dev {candidate.dev:.1%}")
        found.append(candidate)
        if candidate.dev <= chosen.dev:
            chosen, kept = candidate, weights

    late = late_weights(folder, best)
    for count in judge.recipe.candidates.means:
        if count <= len(late):
            measure(f"stage {best}, mean of its last {count} epochs", mean(trainee, late[-count:]))
    if untouched is not None and isinstance(trainee.model, WhisperRecogniser) and not trainee.lora:
        adapted, name = kept, chosen.name
        before = _pretrained(trainee, trainee.model, untouched)
        for share in judge.recipe.candidates.untouched:
            measure(f"{name}, {share:.0%} untouched", mixture(adapted, before, share))
    trainee.load_state_dict(kept)
    return [chosen, *(candidate for candidate in found if candidate is not chosen)]


def mean(trainee: Trainee, checkpoints: Sequence[Path]) -> Weights:
    """The mean of checkpoints' weights, in double precision. The trainee is left with the last one's."""
    total: Weights = {}
    for path in checkpoints:
        trainee.restore(path)
        for name, weight in trainee.state_dict().items():
            total[name] = weight.detach().cpu().double() + total.get(name, 0)
    dtypes = {name: weight.dtype for name, weight in trainee.state_dict().items()}
    return {name: (weight / len(checkpoints)).to(dtypes[name]) for name, weight in total.items()}


def mixture(adapted: Weights, untouched: Weights, share: float) -> Weights:
    """`share` of the untouched weights and the rest of the adapted; a new head has no untouched weights and stays."""
    return {
        name: torch.lerp(weight, untouched[name], share) if name in untouched else weight
        for name, weight in adapted.items()
    }


def _weights_of(trainee: Trainee) -> Weights:
    return {name: weight.detach().cpu().clone() for name, weight in trainee.state_dict().items()}


def _pretrained(trainee: Trainee, model: WhisperRecogniser, untouched: SpeechModel) -> Weights:
    """The untouched Whisper's weights under the names that the trainee gives its own."""
    place = next(name for name, module in trainee.named_modules() if module is model.whisper)
    weights = untouched.network.state_dict()
    return {f"{place}.{name}": weight.detach().cpu() for name, weight in weights.items()}
