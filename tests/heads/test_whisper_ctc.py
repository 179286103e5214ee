"""Whisper's encoder with a CTC head: its logits by hand, its LSTM layers, and transformers' Auto classes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCTC

from speechxfer.heads.whisper_ctc import WhisperCTCConfig, WhisperForCTC

TINY = {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "num_mel_bins": 8,
    "max_source_positions": 20,
    "symbols": 5,
    "final_dropout": 0.2,
}


def make(**options: int) -> WhisperForCTC:
    torch.manual_seed(0)
    return WhisperForCTC(WhisperCTCConfig(**TINY, **options)).eval()


def test_logits_are_a_linear_layer_of_the_encoder_s_states() -> None:
    model = make()
    features = torch.randn(2, 8, 40)
    with torch.no_grad():
        states = model.encoder(features).last_hidden_state
        logits = model(features, labels=None).logits
        expected = states @ model.lm_head.weight.T + model.lm_head.bias
    assert logits.shape == (2, 20, 5)
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("layers", [0, 2])
def test_padding_does_not_reach_an_utterance(layers: int) -> None:
    model = make(recurrent=layers)
    assert (model.context is None) == (layers == 0)
    states = torch.randn(2, 7, 16)
    with torch.no_grad():
        batch = model.compute_logits(states, torch.tensor([7, 4]))
        alone = model.compute_logits(states[1:, :4], torch.tensor([4]))
    torch.testing.assert_close(batch[1:, :4], alone)


def test_it_is_saved_and_opened_by_transformers(tmp_path) -> None:
    model = make(recurrent=1)
    model.save_pretrained(tmp_path)
    again = AutoModelForCTC.from_pretrained(tmp_path)
    assert isinstance(again, WhisperForCTC) and again.config.recurrent == 1
    for name, tensor in model.state_dict().items():
        assert again.state_dict()[name].equal(tensor), name
