"""A model on a part: what it said, how that scores, how long it took. `adapt` and `evaluate` both measure here."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from speechxfer import distributed
from speechxfer.adaptation.run_dir import write_atomically
from speechxfer.config.recipe import ScoringConfig
from speechxfer.data import audio
from speechxfer.data.tables import cell_to_json
from speechxfer.models import SpeechModel, predict_all
from speechxfer.models.inference import BatchProgress
from speechxfer.scoring import Score, compare_scores, score

# columns that say nothing about who speaks or how
RESERVED_COLUMNS = ("id", "audio", "path", "bytes", "text", "start", "end", "hypothesis", "reference")
INSERTION_WARNING_RATE = 0.1  # insertions to a reference word from which they are remarked on


@dataclass
class Evaluation:
    """One model's answers on one part. hypotheses: raw, in the table's order."""

    score: Score
    hypotheses: list[str]
    speed: dict[str, Any]  # audio_seconds, wall_seconds, peak_memory_mb, device


def evaluate_split(
    model: SpeechModel,
    utterances: Dataset,
    scoring: ScoringConfig,
    *,
    reference: str = "text",
    batch_seconds: float = 120.0,
    progress: BatchProgress | None = None,
    shared: bool = False,
) -> Evaluation:
    """Answer every utterance and score the answers against column `reference` (`text`, or `label` for a classifier).

    shared: among the processes, as `predict_all` has it.
    """
    began = time.perf_counter()
    said = predict_all(model, utterances, batch_seconds=batch_seconds, progress=progress, shared=shared)
    wall = time.perf_counter() - began
    speed = {
        "audio_seconds": round(sum(audio.measure_duration(row) for row in drop_columns(utterances, "text")), 2),
        "wall_seconds": round(wall, 2),
        "peak_memory_mb": get_peak_memory_mb(model.device),
        "device": model.device.type,
        **({"processes": distributed.get_world_size()} if shared and distributed.get_world_size() > 1 else {}),
    }
    return score_predictions(model, utterances, said, speed, scoring, reference=reference)


def score_predictions(
    model: SpeechModel,
    utterances: Dataset,
    said: list[str],
    speed: dict[str, Any],
    scoring: ScoringConfig,
    *,
    reference: str = "text",
) -> Evaluation:
    """A model's answers, made now or kept from an earlier run, with their score."""
    labels = model.kind == "classify"
    return Evaluation(score_split(utterances, said, scoring, reference=reference, labels=labels), said, speed)


def score_split(
    utterances: Dataset, said: Sequence[str], scoring: ScoringConfig, *, reference: str = "text", labels: bool = False
) -> Score:
    """Score answers against the part's own column, by its speakers and by every column that `scoring.by` asks for.

    labels: they are a classifier's, each right or wrong as a whole, whatever words it has, and as it is written.
    """
    kept = [name for name in utterances.column_names if name not in (*RESERVED_COLUMNS, reference)]
    speakers = utterances["speaker"] if "speaker" in kept else None
    meant, heard, normaliser = list(utterances[reference]), list(said), scoring.normaliser
    if labels:
        meant, heard, normaliser = encode_labels(meant), encode_labels(heard), "none"
    return score(
        meant,
        heard,
        ids=list(utterances["id"]),
        speakers=list(speakers) if speakers is not None else None,
        columns={name: list(utterances[name]) for name in kept},
        by=scoring.by,
        normaliser=normaliser,
    )


def encode_labels(labels: Sequence[str]) -> list[str]:
    """Each label as a word that no other label becomes."""
    return ["_".join(label.replace("_", "__").split()) for label in labels]


def make_insertion_warnings(name: str, measured: Score) -> list[str]:
    """A warning where most errors are words that nobody said: such a rate says little about what was heard."""
    counts = measured.overall.counts
    if 2 * counts.insertions <= counts.errors or counts.insertions < INSERTION_WARNING_RATE * counts.reference_words:
        return []
    return [
        f"{counts.insertions} of {counts.errors} errors of {name} are words that nobody said: it repeats itself or "
        "writes on after the end, as Whisper does on audio padded in another way than it was trained on"
    ]


def make_forgetting_warnings(before: Evaluation | None, after: Evaluation | None) -> list[str]:
    """What adapting did to other speech, in words; a warning where its rate has risen."""
    if before is None or after is None or before.score.wer is None or after.score.wer is None:
        return []
    was, now = before.score.wer, after.score.wer
    if now <= was:
        return []
    return [
        f"other speech is heard worse: {was:.1%} before, {now:.1%} after; a share of untouched weights "
        "(candidates.pretrained_share) or some of that speech in data.train keeps more"
    ]


def summarize_score(measured: Score, untouched: Score | None = None) -> dict[str, Any]:
    """A score for the report, without groups: its counts, how many utterances nothing was written for (`empty`), and
    the paired difference from the untouched model (`against_untouched`) where that was measured too."""
    hits, substitutions, deletions, insertions = measured.words.T
    silent = (hits + substitutions + insertions == 0) & (deletions > 0)
    short: dict[str, Any] = {**measured.overall.to_json(), "empty": int(silent.sum())}
    return short if untouched is None else short | {"against_untouched": compare_scores(untouched, measured).to_json()}


def write_predictions(path: Path, utterances: Dataset, said: Sequence[str], *, reference: str = "text") -> None:
    """One line an utterance: id, audio (as in the input), hypothesis, reference where known, the other columns; raw."""
    taken = ("id", "audio", "path", "bytes", "hypothesis", "reference", reference)
    others = [name for name in utterances.column_names if name not in taken]
    lines = []
    for row, text in zip(drop_columns(utterances, "bytes"), said, strict=True):
        line: dict[str, Any] = {"id": row["id"], "audio": row["audio"], "hypothesis": text}
        if reference in row:
            line["reference"] = row[reference]
        line.update({name: value for name in others if (value := cell_to_json(row[name])) is not None})
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_atomically(path, "".join(lines))


def score_predictions_file(path: Path, scoring: ScoringConfig, *, labels: bool = False) -> Score:
    """The score of a JSONL that `write_predictions` wrote with its references; labels: as for `score_split`."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    names = dict.fromkeys(name for line in lines for name in line)
    rows = Dataset.from_dict({name: [line.get(name) for line in lines] for name in names})
    return score_split(rows, rows["hypothesis"], scoring, reference="reference", labels=labels)


def find_audio_links(utterances: Dataset) -> dict[str, str]:
    """Id to the file that a report plays, with `#start-end` where the utterance is a stretch of it.

    Rows whose audio is embedded in the table have no file.
    """
    return {row["id"]: _segment_link(row) for row in drop_columns(utterances, "bytes") if row.get("path")}


def _segment_link(row: Mapping[str, Any]) -> str:
    start, end = row.get("start"), row.get("end")
    if start is None and end is None:
        return str(row["path"])
    return f"{row['path']}#{start or 0:g}-{'' if end is None else f'{end:g}'}"


def fingerprint_dataset(utterances: Dataset, reference: str) -> str:
    """SHA-256 of a part's ids and references."""
    digest = hashlib.sha256()
    for name, text in zip(utterances["id"], utterances[reference], strict=True):
        digest.update(f"{name}\t{text}\n".encode())
    return digest.hexdigest()


def drop_columns(utterances: Dataset, *names: str) -> Dataset:
    """The same rows without some columns (embedded audio, say, need not be read to know the speakers)."""
    return utterances.select_columns([name for name in utterances.column_names if name not in names])


def get_peak_memory_mb(device: torch.device) -> int:
    """The process's largest memory so far, in MB: the GPU's where it works there, else the resident set."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak / 1e3)


def make_provenance(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Versions of what a figure depends on, and the facts given (fingerprints, recipe, seed)."""
    from importlib.metadata import version

    packages = ("speechxfer", "torch", "torchaudio", "transformers", "datasets", "jiwer", "soundfile", "numpy")
    return {
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in packages},
        **facts,
    }
