"""A stream in pieces of any size gives the scores of the whole; torch and ONNX agree; no torch is needed to detect."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.wakeword.model.onnx_graph import export_student
from speechxfer.wakeword.model.student import FIRST_SCORE_SECONDS, STEP_SECONDS, Student, StudentConfig
from speechxfer.wakeword.runtime.detector import Detector, Scorer, open_artifact
from speechxfer.wakeword.runtime.features import (
    ENERGY_FLOOR,
    HOP_SAMPLES,
    NUM_MELS,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    LogMel,
    compute_mel_energies,
    count_frames,
    log_energies,
)


def speechlike(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.sin(2 * np.pi * (200 + 100 * np.sin(3 * time)) * time) * (np.sin(5 * time) > 0)
    return (0.2 * wave + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


def random_student(shape: StudentConfig | None = None, seed: int = 0) -> Student:
    """A student whose batch norms have seen something, so that folding them in is no identity."""
    torch.manual_seed(seed)
    student = Student(shape)
    student.mean.copy_(torch.randn(NUM_MELS) - 6)
    student.scale.copy_(torch.rand(NUM_MELS) + 0.2)
    student.train()
    for _ in range(3):
        student(torch.randn(4, 60, NUM_MELS) * 2 - 6)
    student.eval()
    with torch.no_grad():  # scores on both sides of a half
        log_mel = torch.from_numpy(log_energies(compute_mel_energies(speechlike(4.0))))[None, :396]
        logits, _ = student(log_mel)
        student.head.weight.mul_(2 / logits.std())
        logits, _ = student(log_mel)
        student.head.bias.sub_(logits.median())
    return student


@pytest.fixture(scope="module")
def student() -> Student:
    return random_student()


@pytest.fixture(scope="module")
def graph(student: Student) -> bytes:
    return export_student(student)


def test_mel_energies_are_those_of_the_definition() -> None:
    wave = speechlike(0.2)
    energies = compute_mel_energies(wave)
    assert energies.shape == (count_frames(len(wave)), NUM_MELS) == (18, NUM_MELS)
    window = torch.hann_window(WINDOW_SAMPLES)
    frames = torch.tensor(wave).unfold(0, WINDOW_SAMPLES, HOP_SAMPLES)
    spectrum = torch.fft.rfft(frames * window, 512)
    from torchaudio.functional import melscale_fbanks

    filters = melscale_fbanks(257, 60.0, 7600.0, NUM_MELS, SAMPLE_RATE)
    assert np.allclose(energies, (spectrum.abs() ** 2 @ filters).numpy(), rtol=1e-3, atol=1e-6)
    assert log_energies(np.zeros((1, NUM_MELS), np.float32)) == pytest.approx(np.log(ENERGY_FLOOR), rel=1e-6)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5 * SAMPLE_RATE), min_size=1, max_size=12))
def test_log_mel_in_pieces_is_that_of_the_whole(sizes: list[int]) -> None:
    wave = speechlike(4.0)
    mel, found, start = LogMel(), [], 0
    for size in [*sizes, len(wave)]:
        found.append(mel.push(wave[start : start + size]))
        start += size
    assert np.abs(np.concatenate(found) - log_energies(compute_mel_energies(wave))).max() < 1e-4


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.integers(16, 5 * SAMPLE_RATE), min_size=1, max_size=10), whole=st.booleans())
def test_scores_in_pieces_of_1_ms_to_5_s_are_those_of_the_whole(graph: bytes, pieces: list[int], whole: bool) -> None:
    wave = speechlike(6.0)
    reference = Scorer(graph).push(wave)
    scorer, found, start = Scorer(graph), [], 0
    sizes = [*pieces, len(wave)] if whole else pieces * (1 + len(wave) // sum(pieces))
    for size in sizes:
        scores = scorer.push(wave[start : start + size])
        assert scores.first == pytest.approx(FIRST_SCORE_SECONDS + STEP_SECONDS * sum(map(len, found)))
        found.append(scores.values)
        start += size
    assert np.abs(np.concatenate(found)[: len(reference.values)] - reference.values).max() < 1e-4


def test_one_millisecond_at_a_time(graph: bytes) -> None:
    wave = speechlike(2.0, seed=3)
    scorer = Scorer(graph)
    found = np.concatenate([scorer.push(wave[i : i + 16]).values for i in range(0, len(wave), 16)])
    assert np.abs(found - Scorer(graph).push(wave).values).max() < 1e-4


def test_onnx_gives_torchs_scores(student: Student, graph: bytes) -> None:
    wave = speechlike(5.0, seed=1)
    log_mel = torch.from_numpy(log_energies(compute_mel_energies(wave)))
    log_mel = log_mel[: len(log_mel) - len(log_mel) % 2]
    with torch.inference_mode():
        logits, _ = student(log_mel[None])
    scores = Scorer(graph).push(wave).values
    assert np.abs(scores - torch.sigmoid(logits[0].double()).numpy()).max() < 1e-4
    assert scores.std() > 0.05  # not all the same


def test_torchs_states_go_on_where_they_stopped(student: Student) -> None:
    log_mel = torch.randn(2, 200, NUM_MELS) - 6
    with torch.inference_mode():
        whole, _ = student(log_mel)
        first, states = student(log_mel[:, :74])
        second, _ = student(log_mel[:, 74:], states)
    assert torch.cat([first, second], dim=1).allclose(whole, atol=1e-5)


def test_a_score_depends_on_nothing_after_it(student: Student) -> None:
    log_mel = torch.randn(1, 300, NUM_MELS)
    other = log_mel.clone()
    other[:, 200:] = 0
    with torch.inference_mode():
        assert student(log_mel)[0][:, :100].equal(student(other)[0][:, :100])


def test_the_student_is_small_and_sees_a_word(student: Student) -> None:
    assert sum(p.numel() for p in student.parameters()) <= 1_000_000
    assert 1.5 < student.receptive_seconds < 2.0


def write_artifact(folder: Path, graph: bytes) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph)
    calibration = {"threshold": 0.5, "smoothing": 3, "refractory": 1.0}
    manifest = {"format": "speechxfer.wakeword/1", "word": "juniper", "calibration": calibration}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_what_is_kept_does_not_grow_with_what_was_heard(graph: bytes, tmp_path: Path) -> None:
    """Ten minutes, a minute at a time; a whole day is played by scripts/bench/wakeword_day.py."""
    detector = Detector(write_artifact(tmp_path / "d", graph))
    minute = speechlike(60.0)
    detector.push(minute)
    tracemalloc.start()
    detector.push(minute)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        detector.push(minute)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 100_000
    assert detector.push(minute[:SAMPLE_RATE]) == [] or detector._finder._last > 700  # time goes on


def test_the_folder_alone_detects_without_torch(graph: bytes, tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "d", graph)
    np.save(tmp_path / "wave.npy", speechlike(3.0))
    program = f"""
import sys
sys.modules["torch"] = None  # an import of it fails
import numpy as np
from speechxfer.wakeword.runtime.detector import Detector
detector = Detector({str(folder)!r})
wave = np.load({str(tmp_path / "wave.npy")!r})
events = [e for i in range(0, len(wave), 1000) for e in detector.push(wave[i:i + 1000])]
print(len(events), round(detector.score, 4))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    detector = Detector(folder)
    events = detector.push(speechlike(3.0))
    assert done.stdout.split()[0] == str(len(events)) and events


def test_int16_and_float_are_the_same_sound(graph: bytes) -> None:
    wave = np.round(speechlike(1.0) * 32_768).astype(np.int16)
    assert np.array_equal(Scorer(graph).push(wave).values, Scorer(graph).push(wave / np.float32(32_768)).values)


def test_samples_that_are_no_numbers_are_silence(graph: bytes) -> None:
    wave = speechlike(1.0)
    wave[4000:4100] = np.nan
    assert np.isfinite(Scorer(graph).push(wave).values).all()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "model.onnx").unlink(), "lacks model.onnx"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json cannot be used"),
        (lambda f: (f / "manifest.json").write_text('{"format": "other/9"}'), "other/9"),
        (lambda f: (f / "model.onnx").write_bytes(b"no graph"), "no ONNX model"),
    ],
)
def test_a_folder_that_is_no_detector(graph: bytes, tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    folder = write_artifact(tmp_path / "d", graph)
    damage(folder)
    with pytest.raises(UserError, match=said):
        Detector(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        open_artifact(tmp_path / "nowhere")
