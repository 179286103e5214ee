"""The convolutional adapter above an encoder: equal to transformers alone, and masked in a batch."""

from __future__ import annotations

import pytest
import torch

TOLERANCE = 1e-4
BROKEN = 1e-3  # a missing mask moves frames by more than this
NAMES = ["wav2vec2-adapter", "bert-adapter"]
WITHOUT = {
    "make_additive_mask": lambda states, lengths: None,
    "mask_padding": lambda states, lengths: states,
}


@pytest.mark.parametrize("name", NAMES)
def test_it_equals_transformers_alone_and_in_any_batch(make, name):
    small = make(name)
    for samples in (1_234, 5_003, 9_000):
        waveform = small.waveform(samples)
        ours, theirs = small.frames_alone([waveform])[0], small.stock_frames(waveform)
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)
    assert small.difference_in_a_batch(small.waveforms(8)) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "module", "mask"),
    [
        ("wav2vec2-adapter", "_adapter", "mask_padding"),
        ("bert-adapter", "_adapter", "mask_padding"),
        ("bert-adapter", "_adapter", "make_additive_mask"),
    ],
)
def test_frames_depend_on_the_batch_without_one_files_masks(make, monkeypatch, name, module, mask):
    """Those of the family's own file alone, the shared ones staying."""
    small = make(name)
    monkeypatch.setattr(f"speechxfer.encoders.{module}.{mask}", WITHOUT[mask])
    assert small.difference_in_a_batch(small.waveforms(16)) > BROKEN
