"""Resampling piece by piece: pitch, place and loudness of tones at any rate, with bounded memory."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.wakeword.runtime.errors import DetectorError, MissingDetectorExtraError
from speechxfer.wakeword.runtime.resampling import Resampler, check_rate


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    resampler = Resampler(rate)
    return np.concatenate([resampler.push(waveform), resampler.flush()])


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_127, 22_050, 44_100, 44_101, 48_000, 96_000, 192_000])
def test_a_tone_keeps_its_pitch_place_and_loudness(rate: int) -> None:
    found = resample(tone(1_000, rate), rate)
    expected = tone(1_000, 16_000)
    assert len(found) == pytest.approx(8_000, abs=2)
    size = min(len(found), len(expected))
    assert np.abs(found[:size] - expected[:size])[400:-400].max() < 2e-3


def test_what_16_khz_cannot_hold_is_gone() -> None:
    found = resample(tone(11_000, 48_000), 48_000)
    assert np.abs(found[400:-400]).max() < 1e-3


def test_the_same_rate_is_left_alone() -> None:
    wave = tone(440, 16_000)
    assert np.array_equal(Resampler(16_000).push(wave), wave) and len(Resampler(16_000).flush()) == 0


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=8), st.sampled_from([8_000, 11_025, 44_100, 44_101]))
def test_pieces_give_what_the_whole_gives(sizes: list[int], rate: int) -> None:
    wave = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    whole = resample(wave, rate)
    resampler, found, start = Resampler(rate), [], 0
    for size in [*sizes, len(wave)]:
        found.append(resampler.push(wave[start : start + size]))
        start += size
    found.append(resampler.flush())
    assert np.allclose(np.concatenate(found), whole, atol=1e-5)


@pytest.mark.parametrize("rate", [44_101, 191_999, 3_000_017])
def test_memory_does_not_grow_with_the_rate(rate: int) -> None:
    """Rates whose ratio to 16 kHz has a large denominator took gigabytes of filters."""
    second = np.zeros(rate, np.float32)
    tracemalloc.start()
    resampler = Resampler(rate)
    found = resampler.push(second)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * second.nbytes + 1_000_000
    assert len(found) + len(resampler.flush()) == pytest.approx(16_000, abs=1)


@pytest.mark.parametrize("rate", [-5, 0, 1, 3_999, 192_001, 3_000_017, 2**31 - 1])
def test_a_rate_that_is_not_one_of_speech(rate: int) -> None:
    with pytest.raises(DetectorError, match="4,000 to 192,000 Hz"):
        check_rate(rate)


def test_rates_of_speech() -> None:
    for rate in (4_000, 44_101, 192_000):
        check_rate(rate)


def test_without_soxr_only_16_khz_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    assert len(Resampler(16_000).push(np.zeros(10))) == 10
    with pytest.raises(MissingDetectorExtraError, match="soxr"):
        Resampler(48_000)
