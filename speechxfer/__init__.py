"""Adapt pretrained speech encoders to accents, small corpora and wake words, and report a WER that holds.

    import speechxfer

    run = speechxfer.adapt("accent-whisper", "data.train=train.csv", "data.test=test.csv")
    print(run.after.summary())
    model = speechxfer.load(run.run_dir.model)
    print(speechxfer.transcribe(model, "interview.wav")[0].text)

Importing this package imports nothing heavy: each name below is found when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechxfer.adaptation.evaluate import evaluate
    from speechxfer.adaptation.run import adapt
    from speechxfer.data.reader import read
    from speechxfer.models import load
    from speechxfer.models.transcribe import transcribe
    from speechxfer.scoring import score

_HOME = {
    "adapt": "speechxfer.adaptation.run",
    "evaluate": "speechxfer.adaptation.evaluate",
    "load": "speechxfer.models",
    "read": "speechxfer.data.reader",
    "score": "speechxfer.scoring",
    "transcribe": "speechxfer.models.transcribe",
}

__all__ = ["adapt", "evaluate", "load", "read", "score", "transcribe"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'speechxfer' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
