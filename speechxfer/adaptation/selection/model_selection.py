"""Model selection among the stages' best epochs, weight averages and interpolations with the pretrained weights.

The lowest dev error wins. The best epoch of a stage is selected in `training.trainer.train_stage`.

Weight averaging follows Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization";
interpolation follows Wortsman et al. 2022, "Robust fine-tuning of zero-shot models".
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
NUM_BEAM_CANDIDATES = 3  # best greedy candidates that are evaluated once more with beam search


@dataclass
class Candidate:
    """A model that may be selected. dev, dev_beam: error rates on dev, greedy and by beam search.

    dev_beam is `None` where beam search was not evaluated. For a joint model it is the rate after rescoring with
    the CTC head. A CTC head whose beam search is tuned on dev has that search's rate as `dev`.
    """

    name: str
    dev: float
    dev_beam: float | None = None

    @property
    def dev_as_decoded(self) -> float:
        """Dev error rate as the model will decode: greedy where beam search is worse or was not evaluated."""
        return self.dev if self.dev_beam is None else min(self.dev, self.dev_beam)


@dataclass
class _Entry:
    """A candidate and the function that makes its weights."""

    candidate: Candidate
    make_weights: Callable[[], StateDict]


def select_weights(
    staged: StagedModule,
    stages: Sequence[dict[str, Any]],
    run_dir: RunDir,
    evaluator: Evaluator,
    zero_shot: SpeechModel | None,
) -> list[Candidate]:
    """Evaluate all candidates on dev and load the weights of the best one into `staged`.

    Candidates are each stage's best epoch, averages over the last epochs of the best stage, and (Whisper)
    interpolations with the pretrained weights. Ties prefer later stages, then averages, then interpolations. If
    Whisper's decoder uses beam search, the `NUM_BEAM_CANDIDATES` best are evaluated with it too, since greedy and
    beam search error rates can rank candidates differently; beam search that is worse than greedy is not used.

    Args:
        stages: entries of `train_stages`.

    Returns:
        All candidates, the selected one first.
    """
    search = _CandidateSearch(staged, evaluator)
    best = min(reversed(range(len(stages))), key=lambda number: stages[number]["dev"])
    for number, entry in enumerate(stages):
        checkpoint = find_stage_checkpoint(run_dir, number, entry)
        search.entries.append(
            _Entry(Candidate(f"stage {number}", entry["dev"]), partial(_load_checkpoint, staged, checkpoint))
        )
    search.selected = search.entries[best]
    last_epochs = list_last_epoch_weights(run_dir, best)
    for count in evaluator.recipe.candidates.means:
        if count <= len(last_epochs):
            average = partial(average_checkpoints, staged, last_epochs[-count:])
            search.evaluate(f"stage {best}, mean of its last {count} epochs", average)
    if zero_shot is not None and isinstance(staged.model, WhisperRecogniser) and not staged.lora:
        adapted, name = search.selected.make_weights(), search.selected.candidate.name
        pretrained = _pretrained_weights(staged, staged.model, zero_shot)
        for share in evaluator.recipe.candidates.pretrained_share:
            search.evaluate(f"{name}, {share:.0%} pretrained", partial(interpolate_weights, adapted, pretrained, share))
    if isinstance(staged.model, WhisperRecogniser) and staged.model.settings.beam_size > 1:
        search.select_with_beam()
    staged.load_state_dict(search.selected.make_weights())
    others = [entry.candidate for entry in search.entries if entry is not search.selected]
    return [search.selected.candidate, *others]


class _CandidateSearch:
    """The candidates evaluated so far and the best of them."""

    def __init__(self, staged: StagedModule, evaluator: Evaluator) -> None:
        self.staged, self.evaluator = staged, evaluator
        self.entries: list[_Entry] = []
        self.selected: _Entry

    def evaluate(self, name: str, make_weights: Callable[[], StateDict]) -> None:
        """Evaluate weights on dev; they are selected if no candidate so far is better."""
        self.staged.load_state_dict(make_weights())
        candidate = Candidate(name, self.evaluator.evaluate_dev(self.staged.model, f"{name}, dev"))
        self.evaluator.reporter.info(f"{name}: dev {self.evaluator.show_dev(candidate.dev)}")
        self.entries.append(_Entry(candidate, make_weights))
        if candidate.dev <= self.selected.candidate.dev:
            self.selected = self.entries[-1]

    def select_with_beam(self) -> None:
        """Evaluate the best candidates with beam search and select among them."""
        model, reporter = self.staged.model, self.evaluator.reporter
        latest_first = self.entries[::-1]  # ties prefer later candidates
        finalists = sorted(latest_first, key=lambda one: one.candidate.dev)[:NUM_BEAM_CANDIDATES]
        for entry in finalists:
            candidate = entry.candidate
            self.staged.load_state_dict(entry.make_weights())
            candidate.dev_beam = self.evaluator.evaluate_dev_with_beam(model, f"{candidate.name}, dev, beam search")
            reporter.info(f"{candidate.name}: dev {candidate.dev_beam:.1%} with beam search")
        self.selected = min(finalists, key=lambda one: one.candidate.dev_as_decoded)
        candidate = self.selected.candidate
        if candidate.dev_beam != candidate.dev_as_decoded:
            model.settings.beam_size = 1
            reporter.info("beam search is worse than greedy: the model decodes greedily")


def average_checkpoints(staged: StagedModule, checkpoints: Sequence[Path]) -> StateDict:
    """Average the weights of checkpoints, in double precision; `staged` is left with the last one's."""
    total: StateDict = {}
    for path in checkpoints:
        staged.load_checkpoint(path)
        for name, weight in staged.state_dict().items():
            total[name] = weight.detach().cpu().double() + total.get(name, 0)
    dtypes = {name: weight.dtype for name, weight in staged.state_dict().items()}
    return {name: (weight / len(checkpoints)).to(dtypes[name]) for name, weight in total.items()}


def interpolate_weights(adapted: StateDict, pretrained: StateDict, share: float) -> StateDict:
    """Return `share` of the pretrained weights and the rest of the adapted ones; a new head's weights are unchanged."""
    return {
        name: torch.lerp(weight, pretrained[name], share) if name in pretrained else weight
        for name, weight in adapted.items()
    }


def _load_checkpoint(staged: StagedModule, checkpoint: Path) -> StateDict:
    staged.load_checkpoint(checkpoint)
    return _copy_state_dict(staged)


def _copy_state_dict(staged: StagedModule) -> StateDict:
    return {name: weight.detach().cpu().clone() for name, weight in staged.state_dict().items()}


def _pretrained_weights(staged: StagedModule, model: WhisperRecogniser, zero_shot: SpeechModel) -> StateDict:
    """Return the pretrained Whisper's weights under the names that they have in `staged`."""
    prefix = next(name for name, module in staged.named_modules() if module is model.whisper)
    assert isinstance(zero_shot, WhisperRecogniser)
    weights = zero_shot.whisper.state_dict()
    return {f"{prefix}.{name}": weight.detach().cpu() for name, weight in weights.items()}
