"""Resampling piece by piece, against torchaudio's of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.wakeword.runtime.resampling import Resampler


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_pitch_place_and_loudness(rate: int) -> None:
    found = Resampler(rate).push(tone(1_000, rate))
    expected = tone(1_000, 16_000)[: len(found)]
    assert len(found) == pytest.approx(8_000, abs=80)
    assert np.abs(found[200:-200] - expected[200:-200]).max() < 2e-3


def test_what_16_khz_cannot_hold_is_gone() -> None:
    found = Resampler(48_000).push(tone(11_000, 48_000))
    assert np.abs(found[200:-200]).max() < 1e-3


def test_the_same_rate_is_left_alone() -> None:
    wave = tone(440, 16_000)
    assert np.array_equal(Resampler(16_000).push(wave), wave)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=8), st.sampled_from([8_000, 11_025, 44_100, 48_000]))
def test_pieces_give_what_the_whole_gives(sizes: list[int], rate: int) -> None:
    wave = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    whole = Resampler(rate).push(wave)
    resampler, found, start = Resampler(rate), [], 0
    for size in [*sizes, len(wave)]:
        found.append(resampler.push(wave[start : start + size]))
        start += size
    assert np.allclose(np.concatenate(found), whole, atol=1e-5)
