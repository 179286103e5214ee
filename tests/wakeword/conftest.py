"""A word made of a rising and a falling tone, other tunes of the same tones, and small detectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from speechxfer.wakeword.data.mixing import TrainingMixer
    from speechxfer.wakeword.model.student import Student

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


@pytest.fixture(scope="session", autouse=True)
def _quick_training(quick_training: Callable[[int], AbstractContextManager[None]]) -> Iterator[None]:
    """Few copies of a clip, and no tune is transcribed with Whisper: test_mining.py tests that suspects are."""
    with quick_training(160):
        yield


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
            "synthetic": 0, "voices": "none", "steps": 90, "batch": 20, "mining_rounds": 2, "extra_rounds": 1,
            "width": 24,
        }  # fmt: skip
        return WakeWordSettings(**{**values, **others})

    return make


@pytest.fixture(scope="session")
def detector(small: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a detector, trained once for all processes of pytest-xdist."""
    from filelock import FileLock

    from speechxfer.report.progress import Reporter
    from speechxfer.wakeword.training.train import train_detector

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "detectors"
    shared.mkdir(exist_ok=True)
    with FileLock(shared / "lock"):
        if not (shared / "tune").exists():
            train_detector(small(shared / "tune"), Reporter(quiet=True))
    return shared / "tune"


@pytest.fixture(scope="session")
def sound(clip: Callable[..., np.ndarray]) -> np.ndarray:
    """Silence, the word, two other tunes, the word: the word ends at about 2 s and 9 s."""
    gap = np.zeros(RATE, np.float32)
    tunes = [clip("word", 5000), clip("other", 5001), clip("other", 5002), clip("word", 5003)]
    return np.concatenate([gap, *(piece for tune in tunes for piece in (tune, gap))])


@pytest.fixture(scope="session")
def sound_48_khz(sound: np.ndarray) -> np.ndarray:
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(sound), RATE, 48_000).numpy()


@pytest.fixture(scope="session")
def times(detector: Path, sound: np.ndarray) -> list[float]:
    """The times at which the small detector detects the word in `sound`, in s."""
    from speechxfer.wakeword.runtime.detector import Detector

    found = [event.time for event in Detector(detector).push(sound)]
    assert len(found) == 2
    return found


@pytest.fixture(scope="module")
def mixer(clip: Callable[..., np.ndarray]) -> TrainingMixer:
    """Training data of the word; a module's own, since training keeps mined windows in it."""
    from speechxfer.wakeword.data.mixing import (
        TrainingMixer,
        make_coloured_noises,
        make_partial_word_negatives,
        make_positive,
        make_variants,
    )
    from speechxfer.wakeword.runtime.features import compute_mel_energies

    rng = np.random.default_rng(0)
    positives = [make_positive(e) for i in range(20) for e in make_variants(clip("word", i), 2, rng)]
    negatives = np.concatenate([compute_mel_energies(clip("other", i)) for i in range(40)])
    near_misses = [part for p in positives for part in make_partial_word_negatives(p, rng)]
    return TrainingMixer(positives, negatives, near_misses, make_coloured_noises(rng, pieces=6))


def make_speechlike(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * (200 + 100 * np.sin(3 * time)) * time) * (np.sin(5 * time) > 0)
    return (0.2 * wave + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="session")
def speechlike() -> Callable[..., np.ndarray]:
    """speechlike(seconds, seed=0): a warbling tone with pauses, and noise."""
    return make_speechlike


@pytest.fixture(scope="session")
def student() -> Student:
    """A random student whose batch norms have running statistics, so that folding them in changes the weights."""
    import torch

    from speechxfer.wakeword.model.student import Student
    from speechxfer.wakeword.runtime.features import NUM_MELS, compute_mel_energies, log_energies

    torch.manual_seed(0)
    student = Student()
    student.mean.copy_(torch.randn(NUM_MELS) - 6)
    student.scale.copy_(torch.rand(NUM_MELS) + 0.2)
    student.train()
    for _ in range(3):
        student(torch.randn(4, 60, NUM_MELS) * 2 - 6)
    student.eval()
    with torch.no_grad():  # scores on both sides of 0.5
        log_mel = torch.from_numpy(log_energies(compute_mel_energies(make_speechlike(4.0))))[None, :396]
        logits, _ = student(log_mel)
        student.head.weight.mul_(2 / logits.std())
        logits, _ = student(log_mel)
        student.head.bias.sub_(logits.median())
    return student


@pytest.fixture(scope="session")
def graph(student: Student) -> bytes:
    from speechxfer.wakeword.model.onnx_graph import export_student

    return export_student(student)
