"""Hints on audio in which a detector is likely to miss its word: too quiet, or without the upper band."""

from __future__ import annotations

import numpy as np

from speechxfer.wakeword.runtime.detector import to_float_samples
from speechxfer.wakeword.runtime.features import MAX_HZ, SAMPLE_RATE

QUIET_DECIBELS = -35.0  # dBFS: speech whose loudest sample is below is quieter than the training data
_MEASURED_SECONDS = 10.0  # s from the start that are measured
_GOOD_DECIBELS = -12.0  # dBFS, of the loudest sample after the gain that is proposed
_SILENT_DECIBELS = -95.0  # dBFS: below the smallest step of 16 bits
_WINDOW = 1_024  # samples of a spectrum
_LOUD_POWER = 10 ** (-50 / 10)  # mean square of a window that is measured: below, rounding noise fills the upper band
_LOWER_BAND, _UPPER_BAND = (300.0, 3_600.0), (4_400.0, 7_400.0)  # Hz
_EMPTY_DECIBELS = -60.0  # dB relative to the lower band: below, the upper band is empty


class InputMonitor:
    """Measures the start of a stream and gives each hint once.

    Audio at a rate below twice the detector's highest frequency lacks the upper band; so does audio that was recorded
    at such a rate and resampled.
    """

    def __init__(self) -> None:
        self._num_samples = 0
        self._peak = 0.0
        self._powers = np.zeros(2)  # of the lower and of the upper band
        self._rest = np.zeros(0, np.float32)
        self._low_rates: set[int] = set()
        self._finished = False

    def push(self, samples: np.ndarray, rate: int = SAMPLE_RATE) -> list[str]:
        """Take the next (time,) samples at 16 kHz, whose source has `rate` Hz; return new hints."""
        hints = []
        if rate < 2 * MAX_HZ and rate not in self._low_rates:
            self._low_rates.add(rate)
            hints.append(f"{rate:,} Hz audio has {_describe_band(rate / 2000)}")
        if not self._finished:
            self._measure(to_float_samples(samples))
            if self._num_samples >= _MEASURED_SECONDS * SAMPLE_RATE:
                hints += self.finish()
        return hints

    def finish(self) -> list[str]:
        """Return the hints on what was measured so far, and end the measurement."""
        if self._finished or not self._num_samples:
            return []
        self._finished = True
        hint = self._describe_level() or self._describe_spectrum()
        return [hint] if hint else []

    def _measure(self, samples: np.ndarray) -> None:
        self._num_samples += len(samples)
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) - len(joined) % _WINDOW
        self._rest = joined[whole:]
        windows = joined[:whole].reshape(-1, _WINDOW)
        windows = windows[np.square(windows).mean(axis=1) > _LOUD_POWER]
        power = np.square(np.abs(np.fft.rfft(windows * np.hanning(_WINDOW)))).sum(axis=0)
        hertz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
        self._powers += [power[(hertz > low) & (hertz < high)].sum() for low, high in (_LOWER_BAND, _UPPER_BAND)]

    def _describe_level(self) -> str:
        level = 20 * np.log10(max(self._peak, 1e-9))
        seconds = f"in the first {self._num_samples / SAMPLE_RATE:.0f} s"
        if level < _SILENT_DECIBELS:
            return f"silence {seconds}; of audio with several channels, --channel selects one"
        if level < QUIET_DECIBELS:
            gain = round(_GOOD_DECIBELS - level)
            fix = f"raise the input's volume, or --gain, by {gain} dB"
            return f"the loudest sample {seconds} is at {level:.0f} dB: if it is speech, it is too quiet; {fix}"
        return ""

    def _describe_spectrum(self) -> str:
        lower, upper = self._powers
        if self._low_rates or not lower or 10 * np.log10(max(upper, 1e-30) / lower) > _EMPTY_DECIBELS:
            return ""
        return f"the audio has {_describe_band(4.0)}"


def _describe_band(kilohertz: float) -> str:
    return (
        f"nothing above {kilohertz:g} kHz: detectors are trained on audio up to {MAX_HZ / 1000:g} kHz "
        "and may miss the word"
    )
