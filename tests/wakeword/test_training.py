"""Material mixed in energies, near misses cut from the word, and a student that learns a small word."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from speechxfer.wakeword.clips import speech_span
from speechxfer.wakeword.features import mel_energies
from speechxfer.wakeword.material import (
    FRAMES,
    Material,
    Positive,
    coloured_noises,
    parts_of,
    positive_of,
    variants,
)
from speechxfer.wakeword.student import STRIDE, Shape
from speechxfer.wakeword.training import Plan, logits_of, mine, train

Clip = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def material(clip: Clip) -> Material:
    rng = np.random.default_rng(0)
    positives = [positive_of(e) for i in range(20) for e in variants(clip("word", i), 2, rng)]
    negatives = np.concatenate([mel_energies(clip("other", i)) for i in range(40)])
    near = [part for p in positives for part in parts_of(p, rng)]
    return Material(positives, negatives, near, coloured_noises(rng, pieces=6))


def test_energies_of_a_mixture_are_the_sum_of_the_energies() -> None:
    """What training does in place of mixing waveforms: right on average, for sounds that know nothing of each other."""
    rng = np.random.default_rng(1)
    one, two = (0.1 * rng.standard_normal(160_000).astype(np.float32) for _ in range(2))
    mixed, summed = mel_energies(one + two), mel_energies(one) + mel_energies(two)
    assert mixed.mean(axis=0) == pytest.approx(summed.mean(axis=0), rel=0.12)


def test_the_words_place_is_found_by_its_loudness(clip: Clip) -> None:
    start, end = speech_span(mel_energies(clip("word", 3, lead=0.8, tail=0.7)))
    assert pytest.approx(start / 100, abs=0.06) == 0.8
    assert len(clip("word", 3, 0.8, 0.7)) / 16_000 - 0.7 == pytest.approx(end / 100, abs=0.06)


def test_a_clip_without_pauses_is_all_word() -> None:
    noise = mel_energies(np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1)
    assert speech_span(noise) == (0, len(noise))
    assert speech_span(np.zeros((0, 40), np.float32)) == (0, 0)


def test_near_misses_keep_the_recording_and_break_the_word(clip: Clip) -> None:
    word = positive_of(mel_energies(clip("word", 5)))
    first, last, swapped, backwards, without = parts_of(word, np.random.default_rng(0))
    for part in (first, last, swapped, backwards):
        assert len(part) == len(word.energies)
        assert np.array_equal(part[: word.start], word.energies[: word.start])
    spoken = word.energies[word.start : word.end]
    assert np.array_equal(backwards[word.start : word.end], spoken[::-1])
    assert sorted(swapped.sum(axis=1)) == pytest.approx(sorted(word.energies.sum(axis=1)), rel=1e-6)
    assert first[word.start :].sum() < 0.8 * spoken.sum() and last.sum() < word.energies.sum()
    assert without.max() < 0.01 * spoken.max()
    assert parts_of(Positive(word.energies, 0, len(word.energies)), np.random.default_rng(0)) == []


def test_a_batch_says_where_the_word_may_be_answered(material: Material) -> None:
    batch = material.batch(50, np.random.default_rng(2))
    assert batch.energies.shape == (50, FRAMES, 40) and batch.positive.sum() == 20
    assert np.isfinite(batch.energies).all() and (batch.energies >= 0).all()
    for place in range(20):
        answer, quiet = batch.answer[place], batch.quiet[place]
        assert answer.sum() >= 25 and not (answer & quiet).any()
        assert quiet[: FRAMES // 10].any()
    assert batch.quiet[20:].all() and not batch.answer[20:].any()


def test_the_same_seed_gives_the_same_batches(material: Material) -> None:
    one, two = (material.batch(8, np.random.default_rng(3)).energies for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, material.batch(8, np.random.default_rng(4)).energies)


def test_a_word_as_long_as_the_window_is_placed(clip: Clip) -> None:
    long = mel_energies(np.concatenate([clip("word", i, 0.0, 0.0) for i in range(6)]))
    material = Material(
        [Positive(long, 0, len(long))], np.zeros((0, 40), np.float32), [], np.ones((400, 40), np.float32)
    )
    batch = material.batch(10, np.random.default_rng(0))
    assert batch.answer[batch.positive].any(axis=1).all()


def test_mining_finds_what_fires_most() -> None:
    logits = np.full(3000 // STRIDE, -8.0)
    logits[1500 // STRIDE : 1510 // STRIDE] = 4.0
    (found,) = mine(logits, 1)
    assert found < 1500 < found + FRAMES


def test_a_student_learns_a_word_and_not_its_parts(material: Material, clip: Clip) -> None:
    plan = Plan(steps=120, batch=40, rounds=2, rate=4e-3, mined=20, seed=1)
    told: list[tuple[int, int]] = []
    shape = Shape(width=32, dilations=(1, 2, 4, 8))
    student = train(material, plan, shape=shape, progress=lambda *step: told.append(step))
    assert told[-1] == (120, 120)
    assert len(material.mined) == 20  # the second round drew them
    words = [logits_of(student, mel_energies(clip("word", 500 + i))).max() for i in range(12)]
    others = [logits_of(student, mel_energies(clip("other", 700 + i))).max() for i in range(24)]
    assert np.median(words) > np.max(others), (sorted(words), sorted(others))
    again = train(material, Plan(steps=3, batch=10, rounds=1, seed=5), shape=shape)
    same = train(material, Plan(steps=3, batch=10, rounds=1, seed=5), shape=shape)
    probe = mel_energies(clip("word", 900))
    assert np.array_equal(logits_of(again, probe), logits_of(same, probe))
