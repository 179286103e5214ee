"""A made-up word (a rising and a falling tone) and other tunes of the same tones, for a detector to tell apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

RATE = 16_000


def glide(first: float, last: float, seconds: float) -> np.ndarray:
    hertz = np.linspace(first, last, round(seconds * RATE))
    return np.sin(2 * np.pi * np.cumsum(hertz) / RATE)


def tune(kind: str, rng: np.random.Generator) -> np.ndarray:
    """`word`: up, then down an octave higher. `other`: any other tune of the same glides. About 0.6 s."""
    pitch, length = rng.uniform(0.9, 1.1), rng.uniform(0.25, 0.35)
    up, down = glide(400 * pitch, 900 * pitch, length), glide(1800 * pitch, 900 * pitch, length)
    others = ([down, up], [up, up], [down, down], [up], [down])
    pieces = [up, down] if kind == "word" else others[rng.integers(len(others))]
    return 0.2 * np.concatenate(pieces)


def clip_of(kind: str, seed: int, lead: float = 0.6, tail: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng([seed, len(kind)])
    parts = [np.zeros(round(lead * RATE)), tune(kind, rng), np.zeros(round(tail * RATE))]
    wave = np.concatenate(parts)
    return (wave + 0.002 * rng.standard_normal(len(wave))).astype(np.float32)


@pytest.fixture(scope="session")
def clip() -> Callable[..., np.ndarray]:
    """clip(kind, seed, lead=0.6, tail=0.6): a recording of the word, or of another tune."""
    return clip_of


@pytest.fixture(scope="session")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with words/ (24 clips), speech/ (40 clips), test_words/ (10), test_speech/ (20)."""
    folder = tmp_path_factory.mktemp("tunes")
    for name, kind, count, seed in (
        ("words", "word", 24, 0),
        ("speech", "other", 40, 1000),
        ("test_words", "word", 10, 2000),
        ("test_speech", "other", 20, 3000),
    ):
        (folder / name).mkdir()
        for number in range(count):
            soundfile.write(folder / name / f"{number:03}.wav", clip_of(kind, seed + number), RATE)
    return folder


@pytest.fixture(scope="session")
def small(tunes: Path) -> Callable[..., Any]:
    """small(output, **others): settings of a small detector of the made-up word, trained on the folder of tunes."""
    from speechxfer.wakeword.settings import WakeWordSettings

    def make(output: Path, **others: Any) -> WakeWordSettings:
        values: dict[str, Any] = {
            "word": "tune", "positives": str(tunes / "words"), "negatives": str(tunes / "speech"), "output": output,
            "synthetic": 0, "voices": "none", "steps": 120, "batch": 40, "rounds": 2, "extra": 1, "width": 32,
        }  # fmt: skip
        return WakeWordSettings(**{**values, **others})

    return make


@pytest.fixture(scope="session")
def detector(small: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a detector."""
    from speechxfer.report.progress import Reporter
    from speechxfer.wakeword.training.train import train_detector

    folder = tmp_path_factory.mktemp("detectors") / "tune"
    train_detector(small(folder), Reporter(quiet=True))
    return folder
