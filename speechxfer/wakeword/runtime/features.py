"""Log-mel energies in numpy: a piece of a stream at a time, of any size, the same as of the whole.

Frame `i` is of the samples `i * HOP` to `i * HOP + WINDOW`; nothing is padded, so it is known when its last sample is.
Training works on the energies before the logarithm: sounds that are mixed add up there.
"""

from __future__ import annotations

import functools

import numpy as np

SAMPLE_RATE = 16_000  # Hz
WINDOW_SAMPLES = 400  # samples: 25 ms
HOP_SAMPLES = 160  # samples: 10 ms
NUM_MELS = 40
MIN_HZ, MAX_HZ = 60.0, 7_600.0  # Hz
ENERGY_FLOOR = 1e-6  # energy below which all is silence: a little above what 16 bits can hold
_FFT = 512
_AT_ONCE = 6_000  # frames transformed together: bounds memory to some 50 MB


def count_frames(samples: int) -> int:
    """How many frames `samples` samples give."""
    return max(0, 1 + (samples - WINDOW_SAMPLES) // HOP_SAMPLES) if samples >= WINDOW_SAMPLES else 0


def compute_mel_energies(waveform: np.ndarray) -> np.ndarray:
    """(time,) samples within ±1 to (frames, MELS) float32 energies."""
    count = count_frames(len(waveform))
    energies = np.empty((count, NUM_MELS), np.float32)
    for start in range(0, count, _AT_ONCE):
        end = min(count, start + _AT_ONCE)
        piece = np.asarray(waveform[start * HOP_SAMPLES : (end - 1) * HOP_SAMPLES + WINDOW_SAMPLES], np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(piece, WINDOW_SAMPLES)[::HOP_SAMPLES] * _window()
        spectrum = np.fft.rfft(frames, _FFT)
        energies[start:end] = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ _filters()
    return energies


def log_energies(energies: np.ndarray) -> np.ndarray:
    """Energies to their natural logarithm, above the floor."""
    return np.log(energies + np.float32(ENERGY_FLOOR))


class LogMel:
    """Log-mel frames of a stream that comes in pieces; holds less than a window of samples."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The next (time,) samples of the stream: the (frames, MELS) log-mel frames that they complete."""
        joined = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        count = count_frames(len(joined))
        self._rest = joined[count * HOP_SAMPLES :].copy()
        return log_energies(compute_mel_energies(joined))


@functools.cache
def _window() -> np.ndarray:
    """A periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)).astype(np.float32)


@functools.cache
def _filters() -> np.ndarray:
    """(bins, MELS) triangles, evenly spaced in mel (2595 log10(1 + f / 700)), each with a peak of 1."""
    edges = _hertz(np.linspace(_mel(MIN_HZ), _mel(MAX_HZ), NUM_MELS + 2))
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
