"""Streams at any rate to 16 kHz, piece by piece, in numpy: what `listen` needs without torch."""

from __future__ import annotations

import math

import numpy as np

from speechxfer.wakeword.runtime.features import SAMPLE_RATE

_CROSSINGS = 16  # of the sinc, to each side
_PASSED = 0.94  # of the lower Nyquist frequency
_BETA = 8.0  # of the Kaiser window: about 80 dB
_AT_ONCE = 8_192  # output samples computed together


class Resampler:
    """A windowed-sinc resampler (Smith 1984) whose output does not depend on how the stream is cut."""

    def __init__(self, source: int, target: int = SAMPLE_RATE) -> None:
        """source, target: sampling rates in Hz."""
        common = math.gcd(source, target)
        self.up, self.down = target // common, source // common
        cutoff = _PASSED * min(1.0, target / source)
        self._half = 0 if self.up == self.down else math.ceil(_CROSSINGS / cutoff)
        taps = np.arange(-self._half, self._half + 1)
        distance = taps[None, :] - np.arange(self.up)[:, None] / self.up  # (phases, taps), in input samples
        window = np.kaiser(4001, _BETA)
        shape = np.interp(distance / (self._half + 1), np.linspace(-1, 1, 4001), window)
        kernel = cutoff * np.sinc(cutoff * distance) * shape
        self._kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
        self._rest = np.zeros(self._half, np.float32)  # input from `_half` before the next output's place
        self._next = 0  # the next output's place in `_rest`, less _half, in 1 / up input samples

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next (time,) float samples at the source's rate: those that they complete at the target's."""
        if self.up == self.down:
            return np.asarray(samples, np.float32)
        joined = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        width = 2 * self._half + 1
        count = max(0, math.ceil(((len(joined) - width + 1) * self.up - self._next) / self.down))
        found = np.empty(count, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(joined, width) if count else None
        for start in range(0, count, _AT_ONCE):
            places = self._next + self.down * np.arange(start, min(count, start + _AT_ONCE))
            whole, phase = np.divmod(places, self.up)
            assert windows is not None
            found[start : start + len(places)] = np.einsum("ij,ij->i", windows[whole], self._kernel[phase])
        self._next += self.down * count
        spent = min(self._next // self.up, len(joined))
        self._rest = joined[spent:].copy()
        self._next -= spent * self.up
        return found
