"""Predictions of a model on a data set: inference, scores, timing, and their JSONL files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from speechxfer import distributed
from speechxfer.adaptation.provenance import get_peak_memory_mb
from speechxfer.atomic import write_text_atomically
from speechxfer.config.recipe import ScoringConfig
from speechxfer.data import audio
from speechxfer.data.collection import WEIGHT_COLUMN
from speechxfer.data.tables import cell_to_json
from speechxfer.models import SpeechModel, predict_all
from speechxfer.progress import ProgressCallback
from speechxfer.scoring import Score, ScoringOptions, compare_scores, score
from speechxfer.scoring.labels import LABEL_MEASURE, MEASURE_COLUMN, score_labels

# columns that results are not broken down by
RESERVED_COLUMNS = (
    *("id", "audio", "path", "bytes", "text", "start", "end", "duration", "hypothesis", "reference"),
    *(WEIGHT_COLUMN, MEASURE_COLUMN),
)
INSERTION_WARNING_RATE = 0.1  # insertions per reference word from which a warning is given


@dataclass
class Evaluation:
    """A model's predictions on a data set, and their score.

    Attributes:
        hypotheses: predicted texts or labels, not normalised, in the order of the rows.
        speed: audio_seconds, wall_seconds, peak_memory_mb, device.
    """

    score: Score
    hypotheses: list[str]
    speed: dict[str, Any]


def evaluate_split(
    model: SpeechModel,
    utterances: Dataset,
    scoring: ScoringConfig,
    *,
    reference: str = "text",
    batch_seconds: float = 120.0,
    progress: ProgressCallback | None = None,
    shared: bool = False,
    predict: Callable[..., list[str]] = predict_all,
) -> Evaluation:
    """Predict for every utterance and score against column `reference` (`text`, or `label` for a classifier).

    shared: split the work among the processes of a distributed run, as in `predict_all`. predict: called like it.
    """
    started = time.perf_counter()
    hypotheses = predict(model, utterances, batch_seconds=batch_seconds, progress=progress, shared=shared)
    wall = time.perf_counter() - started
    num_processes = distributed.get_world_size()
    speed = {
        "audio_seconds": round(sum(audio.measure_duration(row) for row in drop_columns(utterances, "text")), 2),
        "wall_seconds": round(wall, 2),
        "peak_memory_mb": get_peak_memory_mb(model.device),
        "device": model.device.type,
        **({"processes": num_processes} if shared and num_processes > 1 else {}),
    }
    return score_predictions(model, utterances, hypotheses, speed, scoring, reference=reference)


def score_predictions(
    model: SpeechModel,
    utterances: Dataset,
    hypotheses: list[str],
    speed: dict[str, Any],
    scoring: ScoringConfig,
    *,
    reference: str = "text",
) -> Evaluation:
    """Score predictions that were made now or read from a cache."""
    labels = model.kind == "classify"
    scored = score_split(utterances, hypotheses, scoring, reference=reference, labels=labels)
    return Evaluation(scored, hypotheses, speed)


def score_split(
    utterances: Dataset,
    hypotheses: Sequence[str],
    scoring: ScoringConfig,
    *,
    reference: str = "text",
    labels: bool = False,
) -> Score:
    """Score predictions against a column, broken down by speaker and by the columns of `scoring.by`.

    labels: the predictions are a classifier's labels: each is right or wrong as a whole and is not normalised.
    """
    columns = [name for name in utterances.column_names if name not in (*RESERVED_COLUMNS, reference)]
    speakers = utterances["speaker"] if "speaker" in columns else None
    arguments: dict[str, Any] = {
        "ids": list(utterances["id"]),
        "speakers": list(speakers) if speakers is not None else None,
        "columns": {name: list(utterances[name]) for name in columns},
        "by": scoring.by,
    }
    if labels:
        return score_labels(list(utterances[reference]), list(hypotheses), **arguments)
    options = ScoringOptions(normaliser=scoring.normaliser, unit=scoring.unit)
    return score(list(utterances[reference]), list(hypotheses), options=options, **arguments)


def make_insertion_warnings(name: str, scored: Score) -> list[str]:
    """Return a warning if most errors are insertions: such an error rate says little about recognition."""
    counts = scored.overall.counts
    if 2 * counts.insertions <= counts.errors or counts.insertions < INSERTION_WARNING_RATE * counts.reference_words:
        return []
    return [
        f"{counts.insertions} of {counts.errors} errors of {name} are insertions: it loops or does not end, as Whisper "
        "does on audio that is padded differently from its training data"
    ]


def make_forgetting_warnings(before: Evaluation | None, after: Evaluation | None) -> list[str]:
    """Return a list with one warning if the error rate on `data.retention` is higher after adaptation, else none.

    An increase that rounds to the same tenth of a per cent gives no warning.
    """
    if before is None or after is None or before.score.wer is None or after.score.wer is None:
        return []
    if f"{after.score.wer:.1%}" == f"{before.score.wer:.1%}" or after.score.wer < before.score.wer:
        return []
    return [
        f"the error rate on data.retention increased from {before.score.wer:.1%} to {after.score.wer:.1%}; a share of "
        "pretrained weights (candidates.pretrained_share) or some of that speech in data.train reduces forgetting"
    ]


def summarize_score(scored: Score, zero_shot: Score | None = None) -> dict[str, Any]:
    """Return a score's counts for the report, without groups.

    Adds the number of empty predictions (`empty`) and, given the zero-shot score, the paired difference from it
    (`against_zero_shot`).
    """
    hits, substitutions, deletions, insertions = scored.words.T
    is_empty = (hits + substitutions + insertions == 0) & (deletions > 0)
    summary: dict[str, Any] = {**scored.overall.to_json(), "empty": int(is_empty.sum())}
    if zero_shot is not None:
        summary["against_zero_shot"] = compare_scores(zero_shot, scored).to_json()
    return summary


def write_predictions(
    path: Path, utterances: Dataset, hypotheses: Sequence[str], *, reference: str = "text", labels: bool = False
) -> None:
    """Write one JSON object a line: id, audio (as in the input), hypothesis, reference if known, the other columns.

    labels: the predictions are labels, which `MEASURE_COLUMN` of each line says to `speechxfer score`.
    """
    measure = {MEASURE_COLUMN: LABEL_MEASURE} if labels else {}
    own = ("id", "audio", "path", "bytes", "hypothesis", "reference", reference, *measure)
    others = [name for name in utterances.column_names if name not in own]
    lines = []
    for row, text in zip(drop_columns(utterances, "bytes"), hypotheses, strict=True):
        line: dict[str, Any] = {"id": row["id"], "audio": row["audio"], "hypothesis": text}
        if reference in row:
            line["reference"] = row[reference]
        line |= measure
        line.update({name: value for name in others if (value := cell_to_json(row[name])) is not None})
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_text_atomically(path, "".join(lines))


def score_predictions_file(path: Path, scoring: ScoringConfig, *, labels: bool = False) -> Score:
    """Score a file that `write_predictions` wrote with references. labels: as for `score_split`."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    names = dict.fromkeys(name for line in lines for name in line)
    rows = Dataset.from_dict({name: [line.get(name) for line in lines] for name in names})
    return score_split(rows, rows["hypothesis"], scoring, reference="reference", labels=labels)


def find_audio_links(utterances: Dataset) -> dict[str, str]:
    """Return the audio file of each id, with `#start-end` for a part of a file. Embedded audio has no file."""
    return {row["id"]: _make_link(row) for row in drop_columns(utterances, "bytes") if row.get("path")}


def _make_link(row: Mapping[str, Any]) -> str:
    start, end = row.get("start"), row.get("end")
    if start is None and end is None:
        return str(row["path"])
    return f"{row['path']}#{start or 0:g}-{'' if end is None else f'{end:g}'}"


def drop_columns(utterances: Dataset, *names: str) -> Dataset:
    """Return the same rows without some columns, e.g. without reading embedded audio."""
    return utterances.select_columns([name for name in utterances.column_names if name not in names])
