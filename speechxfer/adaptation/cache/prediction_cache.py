"""Prediction cache: the zero-shot model's predictions on a split, computed once and read by later runs.

The key is a digest of everything that they depend on: the checkpoint's files, the decoding settings, this package and
its libraries, and the audio.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset

from speechxfer import distributed
from speechxfer.adaptation.predictions import Evaluation, drop_columns, score_predictions
from speechxfer.adaptation.training.batching import AudioHasher
from speechxfer.atomic import write_text_atomically
from speechxfer.config import Recipe
from speechxfer.data.collection import LANGUAGE_COLUMN
from speechxfer.encoders.checkpoints import hash_files, hash_model_dir, resolve_transformers_dir
from speechxfer.encoders.frame_store import get_predictions_dir, list_prediction_files
from speechxfer.models import SpeechModel

MAX_CACHED_PREDICTIONS = 200  # files; the least recently used are removed


def get_cached_predictions(
    model: SpeechModel, split: Dataset, recipe: Recipe, reference: str, measure: Callable[[], Evaluation]
) -> tuple[Evaluation, bool]:
    """Return the evaluation of `measure`, or its cached predictions scored again, and whether they were cached.

    Args:
        model: the zero-shot model of `recipe`; with `cache.use: never` nothing is read or written.
        measure: evaluates the model on `split`.

    The `speed` of cached predictions is that of the run that made them.
    """
    if recipe.cache.use == "never":
        return measure(), False
    path, cached = distributed.run_on_main(lambda: _read_predictions(model, split, recipe))
    if cached is not None:
        return score_predictions(
            model, split, cached["hypotheses"], cached["speed"], recipe.scoring, reference=reference
        ), True
    evaluation = measure()
    if distributed.get_rank() == 0:
        with suppress(OSError):  # a full or read-only disk only means that the next run computes them again
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(path, json.dumps({"hypotheses": evaluation.hypotheses, "speed": evaluation.speed}))
            for old in list_prediction_files()[MAX_CACHED_PREDICTIONS:]:
                old.unlink(missing_ok=True)
    return evaluation, False


def _read_predictions(model: SpeechModel, split: Dataset, recipe: Recipe) -> tuple[Path, dict[str, Any] | None]:
    """Return the cache file of a split and its content, if it is there and valid."""
    path = get_predictions_dir() / f"{_make_key(model, split, recipe)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads(path.read_text(encoding="utf-8"))
        content = {"hypotheses": [str(text) for text in stored["hypotheses"]], "speed": dict(stored["speed"])}
        if len(content["hypotheses"]) == len(split) and "wall_seconds" in content["speed"]:
            with suppress(OSError):
                os.utime(path)  # most recently used
            return path, content
    return path, None


def _make_key(model: SpeechModel, split: Dataset, recipe: Recipe) -> str:
    folder = resolve_transformers_dir(recipe.encoder.name)
    hasher = AudioHasher()
    facts = {
        "program": _source_digest(),
        "weights": hash_model_dir(folder),
        "beside": {
            str(p.relative_to(folder)): hash_files(p) for p in _list_other_files(folder, model.settings.language)
        },
        "settings": model.settings.model_dump(mode="json"),
        "device": model.device.type,
        "batch_seconds": recipe.decoding.batch_seconds,
        "audio": [hasher.digest(row) for row in drop_columns(split, "text")],
        "languages": split[LANGUAGE_COLUMN][:] if LANGUAGE_COLUMN in split.column_names else None,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _list_other_files(folder: Path, language: str | None) -> list[Path]:
    """Return the files of a model folder, other than its weights, that its predictions depend on."""
    beside = [path for path in folder.iterdir() if path.suffix in (".json", ".txt", ".arpa")]
    others = [*folder.glob(f"adapter.{language}.*"), *(folder / "language_model").glob("*")]
    return sorted(path for path in (*beside, *others) if path.is_file())


@cache
def _source_digest() -> str:
    """Return the digest of this package's source and of the versions of the libraries it computes with."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[2].rglob("*.py")):
        digest.update(path.read_bytes())
    for name in ("torch", "transformers", "soundfile", "soxr", "numpy"):
        digest.update(f"{name} {version(name)}".encode())
    return digest.hexdigest()
