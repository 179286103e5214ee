"""Mixing on energies, near misses cut from the word, and sampled batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from speechxfer.wakeword.data.mixing import (
    WINDOW_FRAMES,
    PositiveClip,
    TrainingMixer,
    make_partial_word_negatives,
    make_positive,
)
from speechxfer.wakeword.runtime.features import compute_mel_energies

Clip = Callable[..., np.ndarray]


def test_energies_of_a_mixture_are_the_sum_of_the_energies() -> None:
    """Training adds energies instead of waveforms, which is right on average for independent sounds."""
    rng = np.random.default_rng(1)
    one, two = (0.1 * rng.standard_normal(160_000).astype(np.float32) for _ in range(2))
    mixed, summed = compute_mel_energies(one + two), compute_mel_energies(one) + compute_mel_energies(two)
    assert mixed.mean(axis=0) == pytest.approx(summed.mean(axis=0), rel=0.12)


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


def test_a_batch_says_where_the_word_may_be_answered(mixer: TrainingMixer) -> None:
    batch = mixer.sample_batch(50, np.random.default_rng(2))
    assert batch.energies.shape == (50, WINDOW_FRAMES, 40) and batch.positive.sum() == 20
    assert np.isfinite(batch.energies).all() and (batch.energies >= 0).all()
    for place in range(20):
        answer, quiet = batch.target_frames[place], batch.quiet[place]
        assert answer.sum() >= 25 and not (answer & quiet).any()
        assert quiet[: WINDOW_FRAMES // 10].any()
    assert batch.quiet[20:].all() and not batch.target_frames[20:].any()


def test_the_same_seed_gives_the_same_batches(mixer: TrainingMixer) -> None:
    one, two = (mixer.sample_batch(8, np.random.default_rng(3)).energies for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, mixer.sample_batch(8, np.random.default_rng(4)).energies)


def test_a_word_as_long_as_the_window_is_placed(clip: Clip) -> None:
    long = compute_mel_energies(np.concatenate([clip("word", i, 0.0, 0.0) for i in range(6)]))
    mixer = TrainingMixer(
        [PositiveClip(long, 0, len(long))], np.zeros((0, 40), np.float32), [], np.ones((400, 40), np.float32)
    )
    batch = mixer.sample_batch(10, np.random.default_rng(0))
    assert batch.target_frames[batch.positive].any(axis=1).all()


def test_windows_are_quiet_and_loud(mixer: TrainingMixer) -> None:
    """Levels reach 30 dB below their mean; most are near it."""
    mixer = replace(mixer, quiet_share=0.15)
    batch = mixer.sample_batch(400, np.random.default_rng(5))
    levels = 10 * np.log10(batch.energies[batch.positive].sum(axis=2).max(axis=1))
    mean = levels.mean()
    assert (levels < mean - 20).mean() > 0.03 and levels.min() < mean - 25
    assert (levels > mean - 10).mean() > 0.6
