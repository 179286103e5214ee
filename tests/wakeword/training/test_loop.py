"""The training loop: a student that learns a small word, mining, and when rounds stop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from speechxfer.wakeword.data.mixing import WINDOW_FRAMES, PositiveClip, TrainingMixer
from speechxfer.wakeword.model.student import FRAMES_PER_STEP, StudentConfig
from speechxfer.wakeword.runtime.features import compute_mel_energies
from speechxfer.wakeword.training.loop import TrainingPlan, compute_logits, mine_windows, train_student

Clip = Callable[..., np.ndarray]
SMALL = StudentConfig(width=8, dilations=(1, 2))


def make_noise_mixer() -> TrainingMixer:
    rng = np.random.default_rng(0)
    word = rng.random((80, 40)).astype(np.float32)
    noise = rng.random((1200, 40)).astype(np.float32)
    return TrainingMixer([PositiveClip(word, 10, 70)], noise, [], noise)


def test_mining_finds_what_fires_most() -> None:
    logits = np.full(3000 // FRAMES_PER_STEP, -8.0)
    logits[1500 // FRAMES_PER_STEP : 1510 // FRAMES_PER_STEP] = 4.0
    (found,) = mine_windows(logits, 1)
    assert found < 1500 < found + WINDOW_FRAMES


def test_a_student_learns_a_word_and_not_its_parts(mixer: TrainingMixer, clip: Clip) -> None:
    plan = TrainingPlan(steps=120, batch=24, mining_rounds=2, rate=4e-3, mined=20, seed=1)
    reported: list[tuple[int, int]] = []
    config = StudentConfig(width=32, dilations=(1, 2, 4, 8))
    student = train_student(mixer, plan, config=config, progress=lambda *step: reported.append(step))
    assert reported[-1] == (120, 120)
    assert len(mixer.mined) == 20  # the second round drew them
    words = [compute_logits(student, compute_mel_energies(clip("word", 500 + i))).max() for i in range(12)]
    others = [compute_logits(student, compute_mel_energies(clip("other", 700 + i))).max() for i in range(24)]
    assert np.median(words) > np.max(others), (sorted(words), sorted(others))
    again = train_student(mixer, TrainingPlan(steps=3, batch=10, mining_rounds=1, seed=5), config=config)
    same = train_student(mixer, TrainingPlan(steps=3, batch=10, mining_rounds=1, seed=5), config=config)
    probe = compute_mel_energies(clip("word", 900))
    assert np.array_equal(compute_logits(again, probe), compute_logits(same, probe))


@pytest.mark.parametrize(
    ("answers", "seconds", "steps", "asked"),
    [
        ([False, True], 1e9, 4, 2),  # held when the planned rounds were done
        ([True, False, True], 1e9, 6, 3),  # the planned ones are done whole, whatever the first said
        ([False] * 9, 1e9, 10, 5),  # never: all further ones
        ([False] * 9, 0.0, 4, 2),  # no time
    ],
)
def test_rounds_go_on_until_the_target_holds(answers: list[bool], seconds: float, steps: int, asked: int) -> None:
    reported: list[tuple[int, int]] = []
    heard: list[int] = []

    def on_round(student: object, mixer: TrainingMixer, logits: np.ndarray) -> bool:
        heard.append(len(logits))
        return answers[len(heard) - 1]

    plan = TrainingPlan(steps=4, batch=8, mining_rounds=2, extra_rounds=3, max_seconds=seconds)
    train_student(make_noise_mixer(), plan, config=SMALL, progress=lambda *at: reported.append(at), on_round=on_round)
    assert reported[-1][0] == steps and reported[-1][0] == reported[-1][1] and reported[0] == (1, 4)
    assert heard == [600] * asked


def test_further_rounds_change_the_student() -> None:
    def weights(answer: bool) -> np.ndarray:
        plan = TrainingPlan(steps=4, batch=8, mining_rounds=2, extra_rounds=1)
        return (
            train_student(make_noise_mixer(), plan, config=SMALL, on_round=lambda *_: answer)
            .head.weight.detach()
            .numpy()
        )

    assert np.array_equal(weights(True), weights(True)) and not np.array_equal(weights(True), weights(False))
