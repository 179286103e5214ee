"""Hints on audio that is too quiet, silent, or without the upper band, and none on speech as it is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from speechxfer.wakeword.runtime.input_hints import QUIET_DECIBELS, InputMonitor
from speechxfer.wakeword.runtime.resampling import Resampler

RATE = 16_000


def make_noise(seconds: float, peak: float = 0.5) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32)
    return peak * noise / np.abs(noise).max()


def collect(waveform: np.ndarray, rate: int = RATE, block: int = 1_280) -> list[str]:
    monitor = InputMonitor()
    hints = [
        hint for start in range(0, len(waveform), block) for hint in monitor.push(waveform[start : start + block], rate)
    ]
    return [*hints, *monitor.finish()]


def test_ordinary_audio_has_no_hint() -> None:
    assert collect(make_noise(3.0)) == []
    assert collect(np.zeros(0, np.float32)) == []


@pytest.mark.parametrize("decibels", [-41, -60])
def test_quiet_audio_is_reported_with_a_gain_that_helps(decibels: int) -> None:
    waveform = make_noise(2.0, 10 ** (decibels / 20))
    (hint,) = collect(waveform)
    assert f"{decibels} dB" in hint and "too quiet" in hint
    gain = int(hint.split("--gain, by ")[1].split()[0])
    assert collect(waveform * 10 ** (gain / 20)) == []
    assert collect(make_noise(2.0, 10 ** ((QUIET_DECIBELS + 1) / 20))) == []


def test_channels_that_cancel_are_silence() -> None:
    (hint,) = collect(np.zeros(RATE, np.float32))
    assert "silence" in hint and "--channel" in hint


def test_the_upper_band_of_telephone_audio_is_missing_at_its_rate_and_resampled() -> None:
    """Also as 16-bit samples, whose rounding noise fills the upper band."""
    telephone = Resampler(8_000).push(make_noise(2.0)[::2].copy())
    assert collect(telephone, rate=8_000) == [
        "8,000 Hz audio has nothing above 4 kHz: detectors are trained on audio up to 7.6 kHz and may miss the word"
    ]
    for waveform in (telephone, np.round(telephone * 32_767) / 32_767):
        (hint,) = collect(waveform)
        assert "nothing above 4 kHz" in hint
    assert collect(make_noise(2.0), rate=11_025)[0].startswith("11,025 Hz audio has nothing above 5.5125 kHz")
    assert collect(make_noise(2.0), rate=22_050) == []


def test_only_the_first_ten_seconds_are_measured_and_each_hint_comes_once() -> None:
    quiet = make_noise(10.0, 0.001)
    monitor = InputMonitor()
    early = [hint for start in range(0, len(quiet), RATE) for hint in monitor.push(quiet[start : start + RATE])]
    assert len(early) == 1 and "in the first 10 s" in early[0]
    assert monitor.push(quiet) == [] and monitor.finish() == []
    loud_first = np.concatenate([make_noise(1.0), quiet, quiet])
    assert collect(loud_first) == []
