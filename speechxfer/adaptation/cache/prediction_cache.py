"""The untouched model's answers to a part: computed once, and read by the next run, as frozen frames are.

They are the whole part's, found by a digest of all that they depend on: the checkpoint's files, how it is run, this
program and its libraries, the audio. Anything else makes them anew.
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

import speechxfer
from speechxfer import distributed
from speechxfer.adaptation.predictions import Evaluation, drop_columns, score_predictions
from speechxfer.adaptation.run_dir import write_atomically
from speechxfer.adaptation.training.batching import AudioHasher
from speechxfer.config import Recipe
from speechxfer.encoders.checkpoints import hash_files, hash_model_dir, resolve_transformers_dir
from speechxfer.encoders.frame_store import get_predictions_dir, list_prediction_files
from speechxfer.models import SpeechModel

MAX_CACHED_PREDICTIONS = 200  # files; those unused longest go first


def get_cached_predictions(
    model: SpeechModel, part: Dataset, recipe: Recipe, reference: str, measure: Callable[[], Evaluation]
) -> tuple[Evaluation, bool]:
    """What `measure` gives, or gave in an earlier run, and whether it was read.

    model: the untouched one that `recipe` names; its `cache.use: never` neither reads nor keeps. The answers are scored
    anew, `speed` is that of the run that made them.
    """
    if recipe.cache.use == "never":
        return measure(), False
    path, kept = distributed.run_on_main(lambda: _read_or_compute(model, part, recipe))
    if kept is not None:
        return score_predictions(
            model, part, kept["hypotheses"], kept["speed"], recipe.scoring, reference=reference
        ), True
    found = measure()
    if distributed.get_rank() == 0:
        with suppress(OSError):  # a disk that is full or read-only costs the next run its time, and this one nothing
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps({"hypotheses": found.hypotheses, "speed": found.speed}))
            for old in list_prediction_files()[MAX_CACHED_PREDICTIONS:]:
                old.unlink(missing_ok=True)
    return found, False


def _read_or_compute(model: SpeechModel, part: Dataset, recipe: Recipe) -> tuple[Path, dict[str, Any] | None]:
    path = get_predictions_dir() / f"{_key(model, part, recipe)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = {"hypotheses": [str(text) for text in kept["hypotheses"]], "speed": dict(kept["speed"])}
        if len(found["hypotheses"]) == len(part) and "wall_seconds" in found["speed"]:
            with suppress(OSError):
                os.utime(path)  # used now
            return path, found
    return path, None


def _key(model: SpeechModel, part: Dataset, recipe: Recipe) -> str:
    folder = resolve_transformers_dir(recipe.encoder.name)
    contents = AudioHasher()
    facts = {
        "program": _source_digest(),
        "weights": hash_model_dir(folder),
        "beside": {p.name: hash_files(p) for p in sorted(folder.iterdir()) if p.suffix in (".json", ".txt", ".arpa")},
        "settings": model.settings.model_dump(mode="json"),
        "device": model.device.type,
        "batch_seconds": recipe.decoding.batch_seconds,
        "audio": [contents.digest(row) for row in drop_columns(part, "text")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _source_digest() -> str:
    """Digest of this package's source, and of what it computes with."""
    digest = hashlib.sha256()
    for path in sorted(Path(speechxfer.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for name in ("torch", "transformers", "soundfile", "numpy"):
        digest.update(f"{name} {version(name)}".encode())
    return digest.hexdigest()
