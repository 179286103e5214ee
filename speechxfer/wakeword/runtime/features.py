"""Log-mel filterbank energies in numpy; processing a stream in blocks gives the same frames as the whole.

Frame `i` covers samples `i * HOP_SAMPLES` to `i * HOP_SAMPLES + WINDOW_SAMPLES`; nothing is padded, so a frame is
complete as soon as its last sample has arrived. Training mixes energies before the logarithm, where sounds add up.
"""

from __future__ import annotations

import functools

import numpy as np

SAMPLE_RATE = 16_000  # Hz
WINDOW_SAMPLES = 400  # samples: 25 ms
HOP_SAMPLES = 160  # samples: 10 ms
NUM_MELS = 40
MIN_HZ, MAX_HZ = 60.0, 7_600.0  # Hz
ENERGY_FLOOR = 1e-6  # energy treated as silence: slightly above the resolution of 16-bit audio
_FFT_SIZE = 512
_CHUNK_FRAMES = 6_000  # frames transformed at once: limits memory to about 50 MB


def count_frames(num_samples: int) -> int:
    """Return the number of frames in `num_samples` samples."""
    return max(0, 1 + (num_samples - WINDOW_SAMPLES) // HOP_SAMPLES) if num_samples >= WINDOW_SAMPLES else 0


def compute_mel_energies(waveform: np.ndarray) -> np.ndarray:
    """Map (time,) samples within ±1 to (frames, NUM_MELS) float32 energies."""
    num_frames = count_frames(len(waveform))
    energies = np.empty((num_frames, NUM_MELS), np.float32)
    for start in range(0, num_frames, _CHUNK_FRAMES):
        end = min(num_frames, start + _CHUNK_FRAMES)
        chunk = np.asarray(waveform[start * HOP_SAMPLES : (end - 1) * HOP_SAMPLES + WINDOW_SAMPLES], np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(chunk, WINDOW_SAMPLES)[::HOP_SAMPLES] * _hann_window()
        spectrum = np.fft.rfft(frames, _FFT_SIZE)
        energies[start:end] = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ _mel_filters()
    return energies


def log_energies(energies: np.ndarray) -> np.ndarray:
    """Return the natural logarithm of the energies plus `ENERGY_FLOOR`."""
    return np.log(energies + np.float32(ENERGY_FLOOR))


class LogMel:
    """Streaming log-mel frames; keeps less than one window of samples between blocks.

    before: (time,) samples before the stream, fewer than a window (default: none).
    """

    def __init__(self, before: np.ndarray | None = None) -> None:
        self._rest = np.zeros(0, np.float32) if before is None else before

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take the next (time,) samples of the stream and return the (frames, NUM_MELS) log-mel frames completed."""
        joined = np.concatenate([self._rest, np.asarray(samples, np.float32)])
        num_frames = count_frames(len(joined))
        self._rest = joined[num_frames * HOP_SAMPLES :].copy()
        return log_energies(compute_mel_energies(joined))


@functools.cache
def _hann_window() -> np.ndarray:
    """Return a periodic Hann window, (WINDOW_SAMPLES,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)).astype(np.float32)


@functools.cache
def _mel_filters() -> np.ndarray:
    """Return (bins, NUM_MELS) triangular filters of peak 1, evenly spaced in mel (2595 log10(1 + f / 700))."""
    edges = _mel_to_hertz(np.linspace(_hertz_to_mel(MIN_HZ), _hertz_to_mel(MAX_HZ), NUM_MELS + 2))
    bins = np.fft.rfftfreq(_FFT_SIZE, 1 / SAMPLE_RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _hertz_to_mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
