"""The teacher's windows, its cross-fitted probabilities, and a student that learns from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.mixing import WINDOW_FRAMES, PositiveClip, TrainingMixer
from speechxfer.wakeword.model.student import StudentConfig
from speechxfer.wakeword.model.teacher import (
    NEAR_MISS_WINDOW,
    OTHER_WINDOW,
    WINDOW_AUDIO_SAMPLES,
    WORD_WINDOW,
    SoftTargets,
    WindowPool,
    cross_fit_probabilities,
    make_soft_targets,
)
from speechxfer.wakeword.runtime.features import compute_mel_energies
from speechxfer.wakeword.training.loop import TrainingPlan, compute_logits, train_student
from speechxfer.wakeword.training.train import train_detector

Clip = Callable[..., np.ndarray]
COUNTS = {WORD_WINDOW: 12, NEAR_MISS_WINDOW: 6, OTHER_WINDOW: 12}


@pytest.fixture(scope="module")
def encoder(make_whisper: Callable[..., Path]) -> Path:
    return make_whisper(seconds=3)


@pytest.fixture
def pool(clip: Clip) -> WindowPool:
    found = WindowPool(True, seed=1)
    for number in range(6):
        found.add(WORD_WINDOW, clip("word", number))
        found.add(NEAR_MISS_WINDOW, clip("other", 100 + number))
        found.add(OTHER_WINDOW, np.concatenate([clip("other", 200 + number)] * 5))
    return found


def test_windows_hold_the_word_whole_and_say_whose_they_are(pool: WindowPool) -> None:
    waveforms, labels, recordings = pool.sample_waveforms(COUNTS)
    assert [len(w) for w in waveforms] == [WINDOW_AUDIO_SAMPLES] * 30
    assert compute_mel_energies(waveforms[0]).shape == (WINDOW_FRAMES, 40)
    assert labels.tolist() == [True] * 12 + [False] * 18
    assert set(recordings[:12]) <= set(range(6)) and set(recordings[12:18]) <= set(range(6, 12))
    again = pool.sample_waveforms(COUNTS)
    assert all(np.array_equal(a, b) for a, b in zip(waveforms, again[0], strict=True))


def test_a_loud_word_is_nowhere_cut(clip: Clip) -> None:
    """Two beeps stand for a word: each window with the word contains both."""
    wave = (1e-4 * np.random.default_rng(0).standard_normal(48_000)).astype(np.float32)
    wave[20_000:22_000] = wave[24_000:26_000] = 0.5 * np.sin(np.arange(2_000) / 3)
    pool = WindowPool(True)
    pool.add(WORD_WINDOW, wave)
    for window in pool.sample_waveforms({WORD_WINDOW: 25, NEAR_MISS_WINDOW: 0, OTHER_WINDOW: 0})[0]:
        energy = np.square(window, dtype=np.float64)
        # noise adds to it, speeds change it by up to 15 %, and one beep alone would be half
        assert energy.sum() > 0.7 * np.square(wave, dtype=np.float64).sum()


def test_a_pool_that_is_not_wanted_holds_nothing(clip: Clip) -> None:
    pool = WindowPool(False)
    pool.add(WORD_WINDOW, clip("word", 0))
    assert pool.sample_waveforms(COUNTS)[0] == []


def test_a_window_is_never_judged_by_a_head_that_heard_its_recording() -> None:
    """Random labels per recording, which only a head that memorised the recording can predict."""
    rng = np.random.default_rng(0)
    recordings = np.repeat(np.arange(90), 4)
    labels = rng.random(90) < 0.5
    frames = torch.from_numpy(rng.standard_normal((90, 6, 16)).astype(np.float32))[recordings]
    answers = cross_fit_probabilities(frames, labels[recordings], recordings)
    assert np.mean((answers > 0.5) == labels[recordings]) < 0.7
    # and what generalises is learnt
    frames[:, :, 0] += torch.from_numpy(4.0 * labels[recordings].astype(np.float32))[:, None]
    assert np.mean((cross_fit_probabilities(frames, labels[recordings], recordings) > 0.5) == labels[recordings]) > 0.9


@pytest.fixture
def few_head_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that answer, whatever they have learnt."""
    monkeypatch.setattr("speechxfer.wakeword.model.teacher._HEAD_STEPS", 10)


def test_lessons_of_a_frozen_encoder(pool: WindowPool, encoder: Path, few_head_steps: None) -> None:
    reported: list[tuple[int, int]] = []
    lessons, facts = make_soft_targets(str(encoder), pool, counts=COUNTS, progress=lambda *at: reported.append(at))
    assert lessons.energies.shape == (30, WINDOW_FRAMES, 40) and lessons.probabilities.shape == (30,)
    assert ((lessons.probabilities > 0) & (lessons.probabilities < 1)).all() and reported[-1] == (30, 30)
    assert facts["windows"] == 30 and 0 <= facts["errors"] <= 1
    energies, answers = lessons.sample_windows(5, np.random.default_rng(0))
    assert energies.shape == (5, WINDOW_FRAMES, 40) and energies.dtype == np.float32 and answers.shape == (5,)


def test_the_student_takes_over_what_the_teacher_says(clip: Clip) -> None:
    """The labels do not cover tunes: the student follows a teacher that accepts them, and one that rejects them."""
    rng = np.random.default_rng(0)
    tunes = np.stack([compute_mel_energies(clip("word", i, 0.9, 1.2))[:WINDOW_FRAMES] for i in range(8)])
    hisses = 0.3 * rng.random((8, WINDOW_FRAMES, 40)).astype(np.float32)
    noise = 1e-3 * rng.random((2000, 40)).astype(np.float32)
    material = TrainingMixer([PositiveClip(noise[:80], 10, 70)], noise, [], noise)
    plan = TrainingPlan(steps=50, batch=24, mining_rounds=1, rate=4e-3, distillation_weight=4.0, seed=2)
    heard = compute_mel_energies(clip("word", 50, 0.9, 1.2)), 0.3 * rng.random((WINDOW_FRAMES, 40)).astype(np.float32)

    def gap(yes: float) -> float:
        lessons = SoftTargets(np.concatenate([tunes, hisses]), np.repeat(np.float32([yes, 1 - yes]), 8))
        student = train_student(material, plan, config=StudentConfig(width=16, dilations=(1, 2)), soft_targets=lessons)
        return float(compute_logits(student, heard[0]).max() - compute_logits(student, heard[1]).max())

    assert gap(1.0) > 0 > gap(0.0)


def test_the_manifest_names_the_teacher(
    small: Any, encoder: Path, tmp_path: Path, few_head_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechxfer.wakeword.model.teacher.WINDOW_COUNTS", COUNTS)
    settings = small(tmp_path / "d", steps=2, extra_rounds=0, teacher=str(encoder))
    manifest = train_detector(settings, Reporter(quiet=True))
    found = manifest["model"]["encoder"]
    assert found["encoder"] == encoder.name and found["role"] == "teacher"
    assert found["windows"] == 24  # near misses of the word are spoken by nobody here
    assert manifest["settings"]["teacher"] == encoder.name
    assert str(encoder.parent) not in json.dumps(manifest)


def test_a_teacher_that_is_not_there_is_told_before_any_work(small: Any, tmp_path: Path) -> None:
    settings = small(tmp_path / "d", teacher="whisper-tiny.fr", positives="nowhere")
    with pytest.raises(UserError, match=r"whisper-tiny\.fr: no such model"):
        train_detector(settings, Reporter(quiet=True))
