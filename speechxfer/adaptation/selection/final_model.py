"""Evaluation before and after training: the zero-shot baseline, the selected model, and what both are reported with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from speechxfer import distributed
from speechxfer.adaptation.predictions import Evaluation, write_predictions
from speechxfer.adaptation.run_dir import RunDir, translate_os_errors
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.selection.lm_tuning import tune_beam_search
from speechxfer.adaptation.selection.model_selection import Candidate
from speechxfer.adaptation.selection.rejection_tuning import tune_rejection
from speechxfer.adaptation.selection.rescoring_tuning import tune_rescoring
from speechxfer.adaptation.training.lora import merge_adapters
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.models import DECODER_KINDS, SpeechModel
from speechxfer.models.classifier import Classifier
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.models.joint import JointRecogniser
from speechxfer.report.run_report import ZERO_SHOT
from speechxfer.scoring import Score
from speechxfer.scoring.tokens import LABEL_UNIT
from speechxfer.scoring.units import convert_error_rate

ZERO_SHOT_DEV = f"{ZERO_SHOT}, dev"  # title of the evaluation


@dataclass
class Baseline:
    """The pretrained model's results; both are `None` if it cannot do the task."""

    candidate: Candidate | None = None
    test: Evaluation | None = None


@dataclass
class Tuning:
    """Decoding parameters chosen on dev, for the report; `None` where nothing was tuned."""

    rescoring: dict[str, Any] | None = None
    search: dict[str, Any] | None = None
    rejection: dict[str, Any] | None = None


@dataclass
class FinalModel:
    """The selected model and its results.

    Attributes:
        model: the adapted model if it is better than zero-shot on dev, else the pretrained one.
        is_adapted: whether it is the adapted one.
        candidates: all candidates, the zero-shot model first.
        test: the selected model's evaluation on test.
        adapted_test: the adapted model's evaluation on test.
        dev, train_probe: greedy scores of the adapted model.
        retention: evaluation on `data.retention` before and after, where measured.
        padded_test: evaluation of an adapted Whisper with its input padded to 30 s.
    """

    model: SpeechModel
    selected: Candidate
    is_adapted: bool
    candidates: list[Candidate]
    test: Evaluation
    adapted_test: Evaluation
    dev: Score
    train_probe: Score
    tuning: Tuning
    retention: dict[str, Evaluation] = field(default_factory=dict)
    padded_test: Evaluation | None = None


def evaluate_zero_shot(evaluator: Evaluator, run_dir: RunDir) -> Baseline:
    """Evaluate the pretrained model, as its authors run it, and write its test predictions."""
    model, recipe, splits = evaluator.zero_shot, evaluator.recipe, evaluator.splits
    if model is None:
        return Baseline()
    candidate = Candidate(ZERO_SHOT, evaluator.evaluate_dev(model, ZERO_SHOT_DEV))
    label = splits.metric.label
    rate = convert_error_rate(candidate.dev, label)
    evaluator.reporter.info(f"zero-shot {recipe.encoder.name}: {rate:.1%} {label} on dev")
    if model.settings.beam_size > 1:  # a model adapted here before, saved with its beam search
        candidate.dev_beam = evaluator.evaluate_dev_with_beam(model, "zero-shot, dev, beam search")
    test = evaluator.evaluate_test(model, "zero-shot, test")
    if distributed.get_rank() == 0:
        with translate_os_errors(run_dir.path):
            labels = splits.unit == LABEL_UNIT
            write_predictions(run_dir.before, splits.test, test.hypotheses, reference=splits.reference, labels=labels)
    return Baseline(candidate, test)


def finalize_model(
    staged: StagedModule, evaluator: Evaluator, candidates: list[Candidate], baseline: Baseline
) -> FinalModel:
    """Tune decoding on dev, evaluate on test, and select the adapted or the pretrained model by dev.

    Args:
        candidates: of model selection, the one whose weights `staged` holds first.
    """
    model, zero_shot = staged.model, evaluator.zero_shot
    chosen, *others = candidates
    dev = evaluator.score_greedy(model, evaluator.splits.dev, "selected, dev")
    probe = evaluator.splits.sample_train_probe(evaluator.recipe.seed)
    train_probe = evaluator.score_greedy(model, probe, "selected, train sample")
    if staged.lora:
        merge_adapters(model)
    chosen, tuning = tune_decoding(model, evaluator, chosen)
    adapted_test = evaluator.evaluate_test(model, "adapted, test")
    is_adapted = baseline.candidate is None or chosen.dev_as_decoded < baseline.candidate.dev_as_decoded
    selected, test = (model, adapted_test) if is_adapted else (zero_shot, baseline.test)
    assert selected is not None and test is not None
    final = FinalModel(
        model=selected,
        selected=chosen if is_adapted or baseline.candidate is None else baseline.candidate,
        is_adapted=is_adapted,
        candidates=[*([baseline.candidate] if baseline.candidate else []), chosen, *others],
        test=test,
        adapted_test=adapted_test,
        dev=dev,
        train_probe=train_probe,
        tuning=tuning,
    )
    final.retention = _evaluate_retention(final, evaluator)
    if is_adapted and model.kind in DECODER_KINDS and not model.settings.pad_to_30s:
        with model.use_padding():  # as plain transformers and faster-whisper run it
            final.padded_test = evaluator.evaluate_test(model, "adapted, padded to 30 s")
    return final


def tune_decoding(model: SpeechModel, evaluator: Evaluator, candidate: Candidate) -> tuple[Candidate, Tuning]:
    """Tune the model's decoding parameters on dev; returns the candidate with its dev error rate as decoded."""
    if isinstance(model, JointRecogniser):
        rescoring = tune_rescoring(model, evaluator, candidate.dev)
        if rescoring:
            candidate = replace(candidate, dev_beam=rescoring["dev"])
        return candidate, Tuning(rescoring=rescoring)
    if isinstance(model, CtcRecogniser):
        search = tune_beam_search(model, evaluator)
        if search and model.settings.beam_size > 1:
            candidate = Candidate(f"{candidate.name}, beam", search["dev"])
        return candidate, Tuning(search=search)
    if isinstance(model, Classifier):
        return candidate, Tuning(rejection=tune_rejection(model, evaluator))
    return candidate, Tuning()


def _evaluate_retention(final: FinalModel, evaluator: Evaluator) -> dict[str, Evaluation]:
    """Evaluate what the adapted model has forgotten; a pretrained model that stays is evaluated once."""
    zero_shot = evaluator.zero_shot
    before = evaluator.evaluate_retention(zero_shot, "zero-shot, retention") if zero_shot is not None else None
    after = evaluator.evaluate_retention(final.model, "adapted, retention") if final.is_adapted else before
    return {side: found for side, found in (("before", before), ("after", after)) if found is not None}
