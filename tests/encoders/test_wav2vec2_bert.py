"""wav2vec2-bert: equal to transformers alone, and the same in any batch."""

from __future__ import annotations

import pytest
import torch

TOLERANCE = 1e-4
NAMES = ["bert", "bert-rotary"]


@pytest.mark.parametrize("name", NAMES)
def test_it_equals_transformers_alone_and_in_any_batch(make, name):
    small = make(name)
    for samples in (1_234, 5_003, 9_000):
        waveform = small.waveform(samples)
        ours, theirs = small.frames_alone([waveform])[0], small.stock_frames(waveform)
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)
    assert small.difference_in_a_batch(small.waveforms(8)) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_its_features_are_log_mel_and_short_clips_are_padded(make, name):
    """Two steps of 10 ms to a frame: 25 ms and 10 ms are the shortest, 560 samples."""
    encoder = make(name).encoder
    assert encoder.min_samples == 560 and encoder.feature_extractor == []
    inputs = encoder.prepare([make(name).waveform(n) for n in (100, 560, 16_000)])
    assert inputs.lengths.tolist() == [1, 1, 49]
    assert inputs.features.shape == (3, 160, 49)
