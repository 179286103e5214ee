"""Resampling against tones whose samples at any rate are known, at ratios that a polyphase kernel cannot hold."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data.resampling import resample, resample_blocks

RATES = [4_000, 7_999, 8_000, 11_127, 22_254, 44_100, 44_101, 48_000, 192_000, 768_000]


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_place_and_level(rate: int) -> None:
    found = resample(tone(1_000, rate), rate, 16_000)
    assert found.dtype == np.float32 and len(found) == -(-len(tone(1_000, rate)) * 16_000 // rate)
    expected = tone(1_000, 16_000, 0.6)[: len(found)]
    assert np.abs(found[300:-300] - expected[300:-300]).max() < 1e-4


@pytest.mark.parametrize("rate", [22_254, 44_101, 48_000])
def test_what_16_khz_cannot_hold_is_removed(rate: int) -> None:
    assert np.abs(resample(tone(8_200, rate), rate, 16_000)[300:-300]).max() < 1e-4


@pytest.mark.parametrize("rate", [44_101, 11_127, 7_999])
def test_memory_is_that_of_the_audio(rate: int) -> None:
    wave = tone(440, rate, 10)
    tracemalloc.start()
    found = resample(wave, rate, 16_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * (wave.nbytes + found.nbytes)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4_000), min_size=1, max_size=8), st.sampled_from(RATES))
def test_blocks_give_what_the_whole_gives(sizes: list[int], rate: int) -> None:
    wave = np.random.default_rng(0).standard_normal(sum(sizes)).astype(np.float32)
    blocks = np.split(wave, np.cumsum(sizes)[:-1])
    found = np.concatenate([np.empty(0, np.float32), *resample_blocks(blocks, rate, 16_000)])
    np.testing.assert_array_equal(found, resample(wave, rate, 16_000))


@settings(max_examples=40)
@given(st.integers(0, 3_000), st.fractions(0.5, 2, max_denominator=20))
def test_a_ratio_gives_the_length_rounded_up(length: int, ratio: Fraction) -> None:
    wave = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    assert len(resample(wave, ratio.numerator, ratio.denominator)) == -(-length * ratio.denominator // ratio.numerator)


def test_the_same_rate_returns_the_same_array() -> None:
    wave = tone(440, 16_000)
    assert resample(wave, 16_000, 16_000) is wave
