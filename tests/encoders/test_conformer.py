"""wav2vec2-conformer: equal to transformers alone, the same in any batch, and with fixed batch norm statistics."""

from __future__ import annotations

import pytest
import torch

TOLERANCE = 1e-4
BROKEN = 1e-3  # a batch norm in train mode moves frames by more than this
NAMES = ["conformer-relative", "conformer-rotary"]


@pytest.mark.parametrize("name", NAMES)
def test_it_equals_transformers_alone_and_in_any_batch(make, name):
    small = make(name)
    for samples in (1_234, 5_003, 9_000):
        waveform = small.waveform(samples)
        ours, theirs = small.frames_alone([waveform])[0], small.stock_frames(waveform)
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)
    assert small.difference_in_a_batch(small.waveforms(8)) < TOLERANCE


@pytest.mark.parametrize("name", ["conformer-relative"])
def test_running_statistics_never_move(make, name):
    small = make(name)
    before = {key: value.clone() for key, value in small.model.named_buffers() if "running" in key}
    assert before
    small.model.train()
    small.encoder(small.encoder.prepare(small.waveforms(4))).states.sum().backward()
    for key, value in small.model.named_buffers():
        if key in before:
            assert value.equal(before[key]), key


@pytest.mark.parametrize(("name", "module"), [("conformer-relative", "conformer")])
def test_frames_depend_on_the_batch_with_a_batch_norm_in_train_mode(make, monkeypatch, name, module):
    small = make(name)
    monkeypatch.setattr(
        f"speechxfer.encoders.{module}.apply_batch_norm_in_eval", lambda norm, states: norm.train()(states)
    )
    assert small.difference_in_a_batch(small.waveforms(16)) > BROKEN
