"""Log-mel frames against torchaudio's filters, and in blocks against the whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.functional import melscale_fbanks

from speechxfer.wakeword.runtime.features import (
    ENERGY_FLOOR,
    HOP_SAMPLES,
    NUM_MELS,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    LogMel,
    compute_mel_energies,
    count_frames,
    log_energies,
)


def test_mel_energies_are_those_of_the_definition(speechlike: Callable[..., np.ndarray]) -> None:
    wave = speechlike(0.2)
    energies = compute_mel_energies(wave)
    assert energies.shape == (count_frames(len(wave)), NUM_MELS) == (18, NUM_MELS)
    window = torch.hann_window(WINDOW_SAMPLES)
    frames = torch.tensor(wave).unfold(0, WINDOW_SAMPLES, HOP_SAMPLES)
    spectrum = torch.fft.rfft(frames * window, 512)
    filters = melscale_fbanks(257, 60.0, 7600.0, NUM_MELS, SAMPLE_RATE)
    assert np.allclose(energies, (spectrum.abs() ** 2 @ filters).numpy(), rtol=1e-3, atol=1e-6)
    assert log_energies(np.zeros((1, NUM_MELS), np.float32)) == pytest.approx(np.log(ENERGY_FLOOR), rel=1e-6)


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 5 * SAMPLE_RATE), min_size=1, max_size=12))
def test_log_mel_in_pieces_is_that_of_the_whole(speechlike: Callable[..., np.ndarray], sizes: list[int]) -> None:
    wave = speechlike(4.0)
    mel, found, start = LogMel(), [], 0
    for size in [*sizes, len(wave)]:
        found.append(mel.push(wave[start : start + size]))
        start += size
    assert np.abs(np.concatenate(found) - log_energies(compute_mel_energies(wave))).max() < 1e-4
