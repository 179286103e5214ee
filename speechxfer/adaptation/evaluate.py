"""Evaluation of any MODEL on any DATA: shared by `speechxfer evaluate` and its Python form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets import Dataset

from speechxfer.adaptation.data.timestamps import clean_references
from speechxfer.adaptation.predictions import Evaluation, evaluate_split
from speechxfer.adaptation.provenance import fingerprint_dataset
from speechxfer.config.recipe import DecodingConfig, ScoringConfig
from speechxfer.data.audio import measure_duration
from speechxfer.data.labels import clean_labels
from speechxfer.data.reader import read
from speechxfer.data.validation import InputLimits, find_invalid_rows
from speechxfer.errors import Problems, UserError
from speechxfer.models import SpeechModel, get_input_limits, load
from speechxfer.models.decoding_options import DecodingOptions, apply_decoding
from speechxfer.models.long_audio import get_whole_seconds, predict_any_length
from speechxfer.models.transcribe import find_long_warning
from speechxfer.progress import ProgressCallback


@dataclass
class EvaluationSet:
    """Rows that can be scored. reference: the column scored against. skipped: number of invalid rows skipped."""

    utterances: Dataset
    reference: str
    skipped: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ids and references."""
        return fingerprint_dataset(self.utterances, self.reference)


def evaluate(
    model: str | Path | SpeechModel,
    data: str | Path | Dataset,
    *,
    normaliser: str | None = None,
    by: list[str] | Literal["auto"] = "auto",
    decoding: DecodingOptions | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Transcribe (or classify) DATA with MODEL and score it. Audio that is too long for the model is cut at pauses.

    Args:
        model: any MODEL, or a loaded one.
        data: DATA with a `text` (or `label`) column, or what `speechxfer.read` returned.
        normaliser: name of a text normaliser, or a GLM file (default: the one saved with the model).
        by: columns to break the result down by, or "auto".
        decoding: how the model is run (default: as it was saved).
        device: auto, cpu, cuda or mps, for a MODEL that is not loaded yet.
        skip_bad: skip invalid rows instead of raising.
        progress: called with (utterances done, total utterances).

    Raises:
        UserError: names every invalid row, before any of them is transcribed.
    """
    options = decoding or DecodingOptions()
    utterances = data if isinstance(data, Dataset) else read(data)
    opened = model if isinstance(model, SpeechModel) else load(model, device=device, language=options.language)
    named = None if isinstance(model, SpeechModel) else model
    part = prepare_evaluation_set(
        utterances,
        "data" if isinstance(data, Dataset) else str(data),
        opened,
        named=named,
        language=options.language,
        skip_bad=skip_bad,
    )
    scoring = ScoringConfig(normaliser=normaliser or opened.settings.normaliser, by=by)
    return evaluate_set(opened, part, scoring, options, progress=progress)


def prepare_evaluation_set(
    utterances: Dataset,
    where: str,
    model: SpeechModel,
    *,
    named: str | Path | None = None,
    language: str | None = None,
    skip_bad: bool = False,
    progress: Callable[[int], None] | None = None,
) -> EvaluationSet:
    """Check the rows of DATA `where` and return those that `model` can be scored on.

    Args:
        named: the MODEL, from which its input limits are read.
        progress: called with the number of rows done.

    Raises:
        UserError: if there is no reference column or no valid row; names every invalid row unless `skip_bad` is set.
    """
    reference = _find_reference(utterances, where, model)
    clean = clean_labels if model.kind == "classify" else clean_references
    utterances, removed = clean(utterances, reference)
    warnings = [*model.warnings, *removed]
    invalid = find_invalid_rows(
        utterances, text=reference, limits=_input_limits(model, named, language), progress=progress
    )
    if invalid and not skip_bad:
        problems = Problems(f"{where}: some utterances cannot be used", fix="fix them, or skip them with --skip-bad")
        for row in invalid:
            problems.add(f"row {row.index + 1}, {row}")
        problems.raise_if_any()
    if invalid:
        dropped = {row.index for row in invalid}
        utterances = utterances.select([index for index in range(len(utterances)) if index not in dropped])
        warnings.append(f"{len(invalid)} invalid rows were skipped: {', '.join(str(row) for row in invalid[:5])}")
        if not len(utterances):
            raise UserError("has no valid row", where=where)
    warnings += _find_clip_warnings(model, utterances)
    if "split" in utterances.column_names and len(splits := sorted({str(v) for v in utterances["split"]})) > 1:
        warnings.append(f"all rows are scored, from the splits {', '.join(splits)}")
    return EvaluationSet(utterances, reference, len(invalid), warnings)


def _find_reference(utterances: Dataset, where: str, model: SpeechModel) -> str:
    """Return the column that the model is scored against. Raises UserError if there is none."""
    wanted = ("label", "text") if model.kind == "classify" else ("text",)
    found = next((name for name in wanted if name in utterances.column_names), None)
    if found is None:
        raise UserError(
            f"has no column '{wanted[0]}' to score against",
            where=where,
            fix=f"add '{wanted[0]}', or use `speechxfer transcribe`, which does not need it",
        )
    return found


def _find_clip_warnings(model: SpeechModel, utterances: Dataset) -> list[str]:
    """Return a warning about clips that are far longer than a classifier's training clips, if there are any."""
    if model.kind != "classify":
        return []
    rows = utterances.select_columns([name for name in utterances.column_names if name not in ("text", "label")])
    return find_long_warning(model, {row["id"]: measure_duration(row) for row in rows})


def evaluate_set(
    model: SpeechModel,
    part: EvaluationSet,
    scoring: ScoringConfig,
    decoding: DecodingOptions | None = None,
    *,
    progress: ProgressCallback | None = None,
    shared: bool = False,
) -> Evaluation:
    """Evaluate `model` on a prepared evaluation set, run as saved except for `decoding`.

    shared: split the work among the processes of a distributed run.
    """
    options = decoding or DecodingOptions()
    return evaluate_split(
        apply_decoding(model, options),
        part.utterances,
        scoring,
        reference=part.reference,
        batch_seconds=options.batch_seconds or DecodingConfig.model_validate({}).batch_seconds,
        progress=progress,
        shared=shared,
        predict=predict_any_length,
    )


def _input_limits(model: SpeechModel, named: str | Path | None, language: str | None) -> InputLimits:
    """Return the limits of inference; those of CTC training do not apply, so that fast speech is scored too."""
    whole = get_whole_seconds(model)
    if named is None:
        return InputLimits(model.encoder.max_seconds, whole_seconds=whole)
    found = get_input_limits(named, language=language)
    return InputLimits(found.max_seconds, found.max_tokens, count_tokens=found.count_tokens, whole_seconds=whole)
