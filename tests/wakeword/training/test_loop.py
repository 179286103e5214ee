"""Material mixed in energies, near misses cut from the word, and a student that learns a small word."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from speechxfer.wakeword.data.clips import find_speech_bounds
from speechxfer.wakeword.data.mixing import (
    WINDOW_FRAMES,
    PositiveClip,
    TrainingMixer,
    make_coloured_noises,
    make_partial_word_negatives,
    make_positive,
    make_variants,
)
from speechxfer.wakeword.model.student import FRAMES_PER_STEP, StudentConfig
from speechxfer.wakeword.runtime.features import compute_mel_energies
from speechxfer.wakeword.training.loop import TrainingPlan, compute_logits, mine_windows, train_student

Clip = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def material(clip: Clip) -> TrainingMixer:
    rng = np.random.default_rng(0)
    positives = [make_positive(e) for i in range(20) for e in make_variants(clip("word", i), 2, rng)]
    negatives = np.concatenate([compute_mel_energies(clip("other", i)) for i in range(40)])
    near = [part for p in positives for part in make_partial_word_negatives(p, rng)]
    return TrainingMixer(positives, negatives, near, make_coloured_noises(rng, pieces=6))


def test_energies_of_a_mixture_are_the_sum_of_the_energies() -> None:
    """What training does in place of mixing waveforms: right on average, for sounds that know nothing of each other."""
    rng = np.random.default_rng(1)
    one, two = (0.1 * rng.standard_normal(160_000).astype(np.float32) for _ in range(2))
    mixed, summed = compute_mel_energies(one + two), compute_mel_energies(one) + compute_mel_energies(two)
    assert mixed.mean(axis=0) == pytest.approx(summed.mean(axis=0), rel=0.12)


def test_the_words_place_is_found_by_its_loudness(clip: Clip) -> None:
    start, end = find_speech_bounds(compute_mel_energies(clip("word", 3, lead=0.8, tail=0.7)))
    assert pytest.approx(start / 100, abs=0.06) == 0.8
    assert len(clip("word", 3, 0.8, 0.7)) / 16_000 - 0.7 == pytest.approx(end / 100, abs=0.06)


def test_a_clip_without_pauses_is_all_word() -> None:
    noise = compute_mel_energies(np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1)
    assert find_speech_bounds(noise) == (0, len(noise))
    assert find_speech_bounds(np.zeros((0, 40), np.float32)) == (0, 0)


def test_near_misses_keep_the_recording_and_break_the_word(clip: Clip) -> None:
    word = make_positive(compute_mel_energies(clip("word", 5)))
    first, last, swapped, backwards, without = make_partial_word_negatives(word, np.random.default_rng(0))
    for part in (first, last, swapped, backwards):
        assert len(part) == len(word.energies)
        assert np.array_equal(part[: word.start], word.energies[: word.start])
    spoken = word.energies[word.start : word.end]
    assert np.array_equal(backwards[word.start : word.end], spoken[::-1])
    assert sorted(swapped.sum(axis=1)) == pytest.approx(sorted(word.energies.sum(axis=1)), rel=1e-6)
    assert first[word.start :].sum() < 0.8 * spoken.sum() and last.sum() < word.energies.sum()
    assert without.max() < 0.01 * spoken.max()
    assert (
        make_partial_word_negatives(PositiveClip(word.energies, 0, len(word.energies)), np.random.default_rng(0)) == []
    )


def test_a_batch_says_where_the_word_may_be_answered(material: TrainingMixer) -> None:
    batch = material.sample_batch(50, np.random.default_rng(2))
    assert batch.energies.shape == (50, WINDOW_FRAMES, 40) and batch.positive.sum() == 20
    assert np.isfinite(batch.energies).all() and (batch.energies >= 0).all()
    for place in range(20):
        answer, quiet = batch.target_frames[place], batch.quiet[place]
        assert answer.sum() >= 25 and not (answer & quiet).any()
        assert quiet[: WINDOW_FRAMES // 10].any()
    assert batch.quiet[20:].all() and not batch.target_frames[20:].any()


def test_the_same_seed_gives_the_same_batches(material: TrainingMixer) -> None:
    one, two = (material.sample_batch(8, np.random.default_rng(3)).energies for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, material.sample_batch(8, np.random.default_rng(4)).energies)


def test_a_word_as_long_as_the_window_is_placed(clip: Clip) -> None:
    long = compute_mel_energies(np.concatenate([clip("word", i, 0.0, 0.0) for i in range(6)]))
    material = TrainingMixer(
        [PositiveClip(long, 0, len(long))], np.zeros((0, 40), np.float32), [], np.ones((400, 40), np.float32)
    )
    batch = material.sample_batch(10, np.random.default_rng(0))
    assert batch.target_frames[batch.positive].any(axis=1).all()


def test_mining_finds_what_fires_most() -> None:
    logits = np.full(3000 // FRAMES_PER_STEP, -8.0)
    logits[1500 // FRAMES_PER_STEP : 1510 // FRAMES_PER_STEP] = 4.0
    (found,) = mine_windows(logits, 1)
    assert found < 1500 < found + WINDOW_FRAMES


def test_a_student_learns_a_word_and_not_its_parts(material: TrainingMixer, clip: Clip) -> None:
    plan = TrainingPlan(steps=120, batch=40, mining_rounds=2, rate=4e-3, mined=20, seed=1)
    told: list[tuple[int, int]] = []
    shape = StudentConfig(width=32, dilations=(1, 2, 4, 8))
    student = train_student(material, plan, shape=shape, progress=lambda *step: told.append(step))
    assert told[-1] == (120, 120)
    assert len(material.mined) == 20  # the second round drew them
    words = [compute_logits(student, compute_mel_energies(clip("word", 500 + i))).max() for i in range(12)]
    others = [compute_logits(student, compute_mel_energies(clip("other", 700 + i))).max() for i in range(24)]
    assert np.median(words) > np.max(others), (sorted(words), sorted(others))
    again = train_student(material, TrainingPlan(steps=3, batch=10, mining_rounds=1, seed=5), shape=shape)
    same = train_student(material, TrainingPlan(steps=3, batch=10, mining_rounds=1, seed=5), shape=shape)
    probe = compute_mel_energies(clip("word", 900))
    assert np.array_equal(compute_logits(again, probe), compute_logits(same, probe))
