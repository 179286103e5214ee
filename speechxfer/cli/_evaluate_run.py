"""The computation of `speechxfer evaluate`: loads the models, checks the data, transcribes and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from speechxfer.errors import UserError

if TYPE_CHECKING:
    import datasets

    from speechxfer.adaptation.evaluate import EvaluationSet
    from speechxfer.adaptation.predictions import Evaluation
    from speechxfer.models import SpeechModel
    from speechxfer.models.decoding_options import DecodingOptions
    from speechxfer.report.progress import Reporter
    from speechxfer.scoring.analysis import AnalysedScore


@dataclass(frozen=True)
class EvaluationRequest:
    """What `speechxfer evaluate` computes.

    Args:
        model, baseline, data: as given on the command line.
        normalise: name of the text normalisation (default: saved with the model).
        by: columns to break the WER down by, or `"auto"`.
        decoding: how the model is run. The baseline is run as it was saved, with the same batch size and language.
        device: auto, cpu, cuda or mps.
        skip_bad: skip invalid rows instead of raising.
    """

    model: str
    baseline: str | None
    data: str
    normalise: str | None
    by: Any
    decoding: DecodingOptions
    device: str
    skip_bad: bool


@dataclass(frozen=True)
class EvaluationRun:
    """Models, data and results of one `speechxfer evaluate`.

    Args:
        baseline: None without a baseline, as is `before`.
        split: the utterances that both models accept.
        before: the evaluation of the baseline.
        after: the evaluation of the model.
    """

    request: EvaluationRequest
    model: SpeechModel
    baseline: SpeechModel | None
    split: EvaluationSet
    before: Evaluation | None
    after: Evaluation
    normaliser: str

    @cached_property
    def analysed(self) -> dict[str, AnalysedScore]:
        """The score of each model with its error analysis, the baseline first if there is one."""
        from speechxfer.scoring.analysis import analyse_score

        baseline = {} if self.before is None else {"baseline": analyse_score(self.before.score)}
        return {**baseline, "model": analyse_score(self.after.score)}


def evaluate_models(request: EvaluationRequest, utterances: datasets.Dataset, reporter: Reporter) -> EvaluationRun:
    """Evaluate the model and the baseline of `request` on the rows that both accept.

    Raises:
        UserError: if a model cannot be loaded, a row is invalid and not to be skipped, or the data lack a column to
            break the WER down by.
    """
    from speechxfer.adaptation.evaluate import evaluate_set
    from speechxfer.config.recipe import ScoringConfig
    from speechxfer.models import DecodingOptions

    _check_columns(request.by, utterances.column_names)
    model, baseline = _load_models(request)
    models: list[tuple[str | None, SpeechModel]] = [(request.model, model)]
    if baseline is not None:
        models.append((request.baseline, baseline))
    split = _prepare_split(request, utterances, models, reporter)
    scoring = ScoringConfig(normaliser=request.normalise or model.settings.normaliser, by=request.by)
    before = None
    if baseline is not None:
        with reporter.progress(f"baseline, {request.baseline}") as progress:
            saved = DecodingOptions(batch_seconds=request.decoding.batch_seconds)
            before = evaluate_set(baseline, split, scoring, saved, progress=progress, shared=True)
    with reporter.progress(f"model, {request.model}") as progress:
        after = evaluate_set(model, split, scoring, request.decoding, progress=progress, shared=True)
    return EvaluationRun(request, model, baseline, split, before, after, scoring.normaliser)


def _check_columns(by: list[str] | Literal["auto"], known: Sequence[str]) -> None:
    """Raise UserError before the work for columns to break the WER down by that the data lack."""
    from speechxfer.scoring.groups import select_breakdown

    for name in [] if by == "auto" else by:
        if problems := select_breakdown([name], dict.fromkeys(known, ())).problems:
            raise UserError(problems[0], where=f"--by {name}", fix=f"use one of {', '.join(known)}")


def _load_models(request: EvaluationRequest) -> tuple[SpeechModel, SpeechModel | None]:
    """Load both models. Raises UserError if one is a classifier and the other is not."""
    from speechxfer.models import load

    device, language = request.device, request.decoding.language
    model = load(request.model, device=device, language=language)
    baseline = None if request.baseline is None else load(request.baseline, device=device, language=language)
    if baseline is not None and (baseline.kind == "classify") != (model.kind == "classify"):
        raise UserError("a recogniser and a classifier cannot be compared", where=f"--baseline {request.baseline}")
    return model, baseline


def _prepare_split(
    request: EvaluationRequest,
    utterances: datasets.Dataset,
    models: list[tuple[str | None, SpeechModel]],
    reporter: Reporter,
) -> EvaluationSet:
    """Return the rows that every model accepts."""
    from speechxfer.adaptation.evaluate import prepare_evaluation_set

    split: EvaluationSet | None = None
    with reporter.progress("checking") as step:
        for name, model in models:
            checked = prepare_evaluation_set(
                utterances if split is None else split.utterances,
                request.data,
                model,
                named=name,
                language=request.decoding.language,
                skip_bad=request.skip_bad,
                progress=lambda done: step(done, len(utterances)),
            )
            if split is not None:
                warnings = list(dict.fromkeys([*split.warnings, *checked.warnings]))
                checked = replace(checked, skipped=split.skipped + checked.skipped, warnings=warnings)
            split = checked
    assert split is not None
    return split
