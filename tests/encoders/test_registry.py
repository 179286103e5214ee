"""A transformers model, with any head or none, becomes the encoder of its family; unknown types are refused."""

from __future__ import annotations

import pytest
import torch
from transformers import Wav2Vec2ForCTC

from speechxfer.encoders import wrap_encoder
from speechxfer.errors import UserError

TOLERANCE = 1e-4


def test_equals_transformers_on_one_utterance(small):
    encoder = wrap_encoder(small.model, small.extractor, pad_to_30s=True)
    for samples in (1_234, 5_003, 9_000):
        waveform = small.waveform(samples)
        ours, theirs = small.frames_alone([waveform], encoder)[0], small.stock_frames(waveform)
        assert ours.shape == theirs.shape
        assert 0.3 < theirs.std() < 5  # so that the tolerance means something
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def test_the_model_of_any_head_has_the_same_encoder(make):
    small = make("wav2vec2-layer")
    config = small.model.config
    config.vocab_size = 11
    whole = Wav2Vec2ForCTC(config).eval()
    whole.wav2vec2.load_state_dict(small.model.state_dict())
    waveform = small.waveform(900)
    encoder = wrap_encoder(whole, small.extractor)
    assert encoder.module is whole.wav2vec2 and encoder.dim == 32 and encoder.depth == 3
    torch.testing.assert_close(small.frames_alone([waveform], encoder)[0], small.frames_alone([waveform])[0])


def test_an_unknown_type_is_named_with_the_nearest(make):
    small = make("hubert")
    small.model.config.__class__.model_type, before = "hubrt", "hubert"
    try:
        with pytest.raises(UserError, match=r"'hubrt' \(did you mean 'hubert'\?\)[\s\S]*wav2vec2-bert"):
            wrap_encoder(small.model, small.extractor)
    finally:
        small.model.config.__class__.model_type = before
