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

from speechxfer.adaptation.folder import RunFolder
from speechxfer.adaptation.judge import Judge
from speechxfer.adaptation.stages import checkpoint_of, late_weights
from speechxfer.adaptation.trainee import Trainee
from speechxfer.models import SpeechModel
from speechxfer.models.seq2seq import WhisperRecogniser

Weights = dict[str, Tensor]
FINALISTS = 3  # candidates that are heard once more, by the decoding that the model will be used with


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
    def as_used(self) -> float:
        """The error rate as the model will decode: greedily, where the beam errs more or was not heard."""
        return self.dev if self.dev_beam is None else min(self.dev, self.dev_beam)


def choose_weights(
    trainee: Trainee, stages: Sequence[dict[str, Any]], folder: RunFolder, judge: Judge, untouched: SpeechModel | None
) -> list[Candidate]:
    """Measure every candidate on dev; the trainee ends with the best one's weights, which is the first in the list.

    stages: the report's entries. Of equals the later stage, the mean and the mixture are preferred: they have adapted
    more, or forgotten less, for the same figure. Where Whisper's decoder is to search by beam, the `FINALISTS` best
    are heard so too, and the best of those is chosen: what is right greedily is not always what a beam finds. A beam
    that errs more than the same weights do greedily is not used.
    """
    best = min(reversed(range(len(stages))), key=lambda number: stages[number]["dev"])
    found: list[tuple[Candidate, Callable[[], Weights]]] = [
        (Candidate(f"stage {number}", entry["dev"]), partial(_restored, trainee, checkpoint_of(folder, number, entry)))
        for number, entry in enumerate(stages)
    ]
    chosen = found[best]

    def measure(name: str, make: Callable[[], Weights]) -> None:
        nonlocal chosen
        trainee.load_state_dict(make())
        candidate = Candidate(name, judge.dev(trainee.model, f"{name}, dev"))
        judge.narrator.say(f"{name}: dev {candidate.dev:.1%}")
        found.append((candidate, make))
        if candidate.dev <= chosen[0].dev:
            chosen = found[-1]

    late = late_weights(folder, best)
    for count in judge.recipe.candidates.means:
        if count <= len(late):
            measure(f"stage {best}, mean of its last {count} epochs", partial(mean, trainee, late[-count:]))
    if untouched is not None and isinstance(trainee.model, WhisperRecogniser) and not trainee.lora:
        adapted, name = chosen[1](), chosen[0].name
        before = _pretrained(trainee, trainee.model, untouched)
        for share in judge.recipe.candidates.untouched:
            measure(f"{name}, {share:.0%} untouched", partial(mixture, adapted, before, share))
    if isinstance(trainee.model, WhisperRecogniser) and trainee.model.settings.beams > 1:
        latest_first = found[::-1]
        finalists = sorted(latest_first, key=lambda one: one[0].dev)[:FINALISTS]
        for candidate, make in finalists:
            trainee.load_state_dict(make())
            candidate.dev_beam = judge.dev_by_beam(trainee.model, f"{candidate.name}, dev by beam")
            judge.narrator.say(f"{candidate.name}: dev by beam {candidate.dev_beam:.1%}")
        chosen = min(finalists, key=lambda one: one[0].as_used)
        if chosen[0].dev_beam != chosen[0].as_used:
            trainee.model.settings.beams = 1
            judge.narrator.say("the beam errs more than the best path")
    trainee.load_state_dict(chosen[1]())
    return [chosen[0], *(candidate for candidate, _ in found if candidate is not chosen[0])]


def _restored(trainee: Trainee, checkpoint: Path) -> Weights:
    trainee.restore(checkpoint)
    return _weights_of(trainee)


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
    assert isinstance(untouched, WhisperRecogniser)
    weights = untouched.whisper.state_dict()
    return {f"{place}.{name}": weight.detach().cpu() for name, weight in weights.items()}
