"""The wav2vec2 families: transformers' modules, masked between them; what is refused."""

from __future__ import annotations

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from speechxfer.encoders import wrap_encoder
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE

TOLERANCE = 1e-4
BROKEN = 1e-3  # a missing mask moves frames by more than this


@pytest.mark.parametrize("name", ["wav2vec2-layer", "hubert-stable", "conformer-relative", "bert"])
def test_eager_attention_equals_sdpa(make, name):
    fast, plain = make(name, attention="sdpa"), make(name, attention="eager")
    waveforms = fast.waveforms(6)
    assert plain.difference_in_a_batch(waveforms) < TOLERANCE
    for a, b in zip(fast.frames_alone(waveforms), plain.frames_alone(waveforms), strict=True):
        torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=0)


def test_frames_of_equals_transformers_for_the_published_convolutions():
    config = Wav2Vec2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config.conv_dim = [8] * 7
    model = Wav2Vec2Model(config)
    encoder = wrap_encoder(model, Wav2Vec2FeatureExtractor())
    assert encoder.min_samples == 400 and encoder.count_frames(SAMPLE_RATE) == 49
    lengths = torch.arange(400, 40_000, 37)
    theirs = model._get_feat_extract_output_lengths(lengths)
    assert [encoder.count_frames(int(n)) for n in lengths] == theirs.tolist()


@pytest.mark.parametrize("name", ["hubert-batch-norm"])
def test_running_statistics_never_move(make, name):
    small = make(name)
    before = {key: value.clone() for key, value in small.model.named_buffers() if "running" in key}
    assert before
    small.model.train()
    small.encoder(small.encoder.prepare(small.waveforms(4))).states.sum().backward()
    for key, value in small.model.named_buffers():
        if key in before:
            assert value.equal(before[key]), key


@pytest.mark.parametrize(
    ("name", "module", "mask"),
    [
        ("hubert-batch-norm", "hubert", "mask_padding"),
        ("data2vec", "data2vec", "mask_padding"),
    ],
)
def test_frames_depend_on_the_batch_without_one_files_masks(make, monkeypatch, name, module, mask):
    """Those of the family's own file alone, the shared ones staying."""
    small = make(name)
    monkeypatch.setattr(f"speechxfer.encoders.{module}.{mask}", lambda states, lengths: states)
    assert small.difference_in_a_batch(small.waveforms(16)) > BROKEN


@pytest.mark.parametrize(("name", "module"), [("hubert-batch-norm", "hubert")])
def test_frames_depend_on_the_batch_with_a_batch_norm_in_train_mode(make, monkeypatch, name, module):
    small = make(name)
    monkeypatch.setattr(
        f"speechxfer.encoders.{module}.apply_batch_norm_in_eval", lambda norm, states: norm.train()(states)
    )
    assert small.difference_in_a_batch(small.waveforms(16)) > BROKEN


def test_stock_transformers_depends_on_the_batch_where_we_do_not(make):
    """The reason for all this: group norm, padded by transformers' extractor and run by its forward."""
    small = make("wav2vec2-group")
    waveforms = small.waveforms(8)
    with torch.no_grad():
        inputs = small.extractor(
            waveforms, sampling_rate=SAMPLE_RATE, padding=True, return_attention_mask=True, return_tensors="pt"
        )
        together = small.model(**inputs).last_hidden_state
    alone = [small.stock_frames(waveform) for waveform in waveforms]
    worst = max(float((a - b[: len(a)]).abs().max()) for a, b in zip(alone, together, strict=True))
    assert worst > 100 * TOLERANCE


def test_flash_attention_is_refused(make):
    small = make("wav2vec2-layer")
    small.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UserError, match="sdpa"):
        wrap_encoder(small.model, small.extractor)


def test_another_sample_rate_is_refused(make):
    small = make("hubert")
    small.extractor.sampling_rate = 8_000
    with pytest.raises(UserError, match="8,000 Hz"):
        wrap_encoder(small.model, small.extractor)
