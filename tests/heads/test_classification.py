"""Pooling and class scores against numpy, utterance by utterance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification, Wav2Vec2Config, WhisperConfig

from speechxfer.heads.classification import AttentiveClassifier, AttentiveConfig, AttentiveStatistics, pool_mean
from speechxfer.shapes import Frames

LENGTHS = (7, 3, 1)


@pytest.fixture
def frames() -> Frames:
    """Three utterances, and nonsense where they are padded."""
    torch.manual_seed(0)
    states = torch.randn(3, 7, 4)
    for row, length in zip(states, LENGTHS, strict=True):
        row[length:] = 1e3
    return Frames(states, torch.tensor(LENGTHS))


def test_the_mean_is_over_each_utterances_own_frames(frames):
    truth = [row[:length].numpy().mean(0) for row, length in zip(frames.states, LENGTHS, strict=True)]
    np.testing.assert_allclose(pool_mean(frames, frames.states), truth, atol=1e-6)


def apply_linear(layer: torch.nn.Module, values: np.ndarray) -> np.ndarray:
    return values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def pool_by_hand(pool: AttentiveStatistics, own: np.ndarray) -> np.ndarray:
    """The statistics of one utterance's (frames, dim)."""
    score = apply_linear(pool.attention[2], np.tanh(apply_linear(pool.attention[0], own)))[:, 0]
    weight = np.exp(score) / np.exp(score).sum()
    mean = (weight[:, None] * own).sum(0)
    spread = np.sqrt(np.maximum((weight[:, None] * (own - mean) ** 2).sum(0), 1e-6))
    return np.concatenate([mean, spread])


def test_attentive_statistics_by_hand(frames):
    pool = AttentiveStatistics(4, hidden=5)
    found = pool(frames).detach().numpy()
    for row, length, got in zip(frames.states.numpy(), LENGTHS, found, strict=True):
        np.testing.assert_allclose(got, pool_by_hand(pool, row[:length]), atol=1e-5)


def test_attentive_gradients_stay_finite_where_nothing_varies():
    pool = AttentiveStatistics(4)
    states = torch.ones(2, 5, 4, requires_grad=True)
    pool(Frames(states, torch.tensor([5, 1]))).sum().backward()
    assert states.grad is not None and bool(states.grad.isfinite().all())
    assert states.grad[1, 1:].abs().max() == 0  # padding learns nothing


def make_classifier(family: str) -> AttentiveClassifier:
    """A random classifier of three labels over an encoder of one layer."""
    if family == "whisper":
        sizes = {"d_model": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
        encoder = WhisperConfig(**sizes, num_mel_bins=6, max_source_positions=10)
    else:
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 4)}
        positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
        encoder = Wav2Vec2Config(**sizes, **convolutions, **positions, feat_extract_norm="layer")
    torch.manual_seed(0)
    labels = dict(enumerate(["go", "left", "stop"]))
    return AttentiveClassifier(AttentiveConfig(encoder.to_dict(), final_dropout=0.5, id2label=labels)).eval()


def check_logits(network: AttentiveClassifier, logits: torch.Tensor, states: torch.Tensor, lengths: list[int]) -> None:
    assert logits.shape == (len(lengths), 3)
    for got, row, length in zip(logits.numpy(), states.numpy(), lengths, strict=True):
        truth = apply_linear(network.classifier, pool_by_hand(network.pool, row[:length]))
        np.testing.assert_allclose(got, truth, atol=1e-5)


@torch.no_grad()
def test_class_scores_of_a_padded_batch_are_of_each_utterances_own_frames():
    network = make_classifier("wav2vec2")
    samples = torch.randn(2, 400)
    mask = torch.ones(2, 400, dtype=torch.long)
    mask[1, 250:] = 0
    lengths = [((n - 10) // 5 + 1 - 8) // 4 + 1 for n in (400, 250)]  # of the two convolutions
    states = network.encoder(samples, attention_mask=mask).last_hidden_state
    assert states.shape[1] == lengths[0] > lengths[1]
    check_logits(network, network(samples, attention_mask=mask).logits, states, lengths)
    check_logits(network, network(samples).logits, network.encoder(samples).last_hidden_state, [lengths[0]] * 2)


@torch.no_grad()
def test_class_scores_of_whisper_are_of_all_frames_whatever_the_mask():
    network = make_classifier("whisper")
    features, mask = torch.randn(2, 6, 20), torch.ones(2, 20, dtype=torch.long)
    mask[1, 8:] = 0
    states = network.encoder(features).last_hidden_state
    check_logits(network, network(input_features=features, attention_mask=mask).logits, states, [10, 10])


@torch.no_grad()
@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_transformers_opens_a_saved_classifier(family: str, tmp_path: Path):
    network = make_classifier(family)
    network.save_pretrained(tmp_path)
    opened = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert isinstance(opened, AttentiveClassifier) and opened.config.final_dropout == 0.5
    assert opened.config.id2label == {0: "go", 1: "left", 2: "stop"}
    inputs = torch.randn(1, 6, 20) if family == "whisper" else torch.randn(1, 400)
    name = "input_features" if family == "whisper" else "input_values"
    torch.testing.assert_close(opened(**{name: inputs}).logits, network(**{name: inputs}).logits)
