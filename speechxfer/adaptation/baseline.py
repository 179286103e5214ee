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
from speechxfer import processes
from speechxfer.adaptation.batches import Contents
from speechxfer.adaptation.evaluation import Evaluation, scored, without
from speechxfer.adaptation.folder import write_whole
from speechxfer.config import Recipe
from speechxfer.encoders.cache import answer_files, answers_folder
from speechxfer.encoders.weights import find, fingerprint, folder_fingerprint
from speechxfer.models import SpeechModel

MOST = 200  # files; those unused longest go first


def answered_once(
    model: SpeechModel, part: Dataset, recipe: Recipe, reference: str, measure: Callable[[], Evaluation]
) -> tuple[Evaluation, bool]:
    """What `measure` gives, or gave in an earlier run, and whether it was read.

    model: the untouched one that `recipe` names; its `cache.use: never` neither reads nor keeps. The answers are scored
    anew, `speed` is that of the run that made them.
    """
    if recipe.cache.use == "never":
        return measure(), False
    path, kept = processes.by_main(lambda: _look(model, part, recipe))
    if kept is not None:
        return scored(model, part, kept["hypotheses"], kept["speed"], recipe.scoring, reference=reference), True
    found = measure()
    if processes.rank() == 0:
        with suppress(OSError):  # a disk that is full or read-only costs the next run its time, and this one nothing
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"hypotheses": found.hypotheses, "speed": found.speed}))
            for old in answer_files()[MOST:]:
                old.unlink(missing_ok=True)
    return found, False


def _look(model: SpeechModel, part: Dataset, recipe: Recipe) -> tuple[Path, dict[str, Any] | None]:
    path = answers_folder() / f"{_key(model, part, recipe)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = {"hypotheses": [str(text) for text in kept["hypotheses"]], "speed": dict(kept["speed"])}
        if len(found["hypotheses"]) == len(part) and "wall_seconds" in found["speed"]:
            with suppress(OSError):
                os.utime(path)  # used now
            return path, found
    return path, None


def _key(model: SpeechModel, part: Dataset, recipe: Recipe) -> str:
    folder = find(recipe.encoder.name)
    contents = Contents()
    facts = {
        "program": _program(),
        "weights": folder_fingerprint(folder),
        "beside": {p.name: fingerprint(p) for p in sorted(folder.iterdir()) if p.suffix in (".json", ".txt", ".arpa")},
        "settings": model.settings.model_dump(mode="json"),
        "device": model.device.type,
        "batch_seconds": recipe.decoding.batch_seconds,
        "audio": [contents.of(row) for row in without(part, "text")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _program() -> str:
    """Digest of this package's source, and of what it computes with."""
    digest = hashlib.sha256()
    for path in sorted(Path(speechxfer.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for name in ("torch", "transformers", "soundfile", "numpy"):
        digest.update(f"{name} {version(name)}".encode())
    return digest.hexdigest()
