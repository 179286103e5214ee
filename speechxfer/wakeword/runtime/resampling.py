"""Streaming resampling to 16 kHz in numpy, without torch."""

from __future__ import annotations

import math

import numpy as np

from speechxfer.wakeword.runtime.features import SAMPLE_RATE

_ZERO_CROSSINGS = 16  # of the sinc, on each side
_PASSBAND = 0.94  # share of the lower Nyquist frequency
_KAISER_BETA = 8.0  # about 80 dB of stopband attenuation
_CHUNK_OUTPUTS = 8_192  # output samples computed at once


class Resampler:
    """Windowed-sinc resampler (Smith 1984); the output does not depend on how the stream is split into blocks.

    source, target: sampling rates in Hz.
    """

    def __init__(self, source: int, target: int = SAMPLE_RATE) -> None:
        common = math.gcd(source, target)
        self.up, self.down = target // common, source // common
        cutoff = _PASSBAND * min(1.0, target / source)
        self._half = 0 if self.up == self.down else math.ceil(_ZERO_CROSSINGS / cutoff)
        taps = np.arange(-self._half, self._half + 1)
        distance = taps[None, :] - np.arange(self.up)[:, None] / self.up  # (phases, taps), in input samples
        window = np.kaiser(4001, _KAISER_BETA)
        shape = np.interp(distance / (self._half + 1), np.linspace(-1, 1, 4001), window)
        kernel = cutoff * np.sinc(cutoff * distance) * shape
        self._kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
        self._rest = np.zeros(self._half, np.float32)  # input from `_half` samples before the next output
        self._next = 0  # position of the next output in `_rest`, minus _half, in 1 / up input samples

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take the next (time,) float samples at the source rate and return the completed ones at the target rate."""
        if self.up == self.down:
            return np.asarray(samples, np.float32)
        joined = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        width = 2 * self._half + 1
        count = max(0, math.ceil(((len(joined) - width + 1) * self.up - self._next) / self.down))
        outputs = np.empty(count, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(joined, width) if count else None
        for start in range(0, count, _CHUNK_OUTPUTS):
            positions = self._next + self.down * np.arange(start, min(count, start + _CHUNK_OUTPUTS))
            whole, phase = np.divmod(positions, self.up)
            assert windows is not None
            outputs[start : start + len(positions)] = np.einsum("ij,ij->i", windows[whole], self._kernel[phase])
        self._next += self.down * count
        consumed = min(self._next // self.up, len(joined))
        self._rest = joined[consumed:].copy()
        self._next -= consumed * self.up
        return outputs
