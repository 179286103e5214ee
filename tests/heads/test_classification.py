"""Pooling against numpy, utterance by utterance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechxfer.heads.classification import AttentiveStatistics, pool_mean
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


def test_attentive_statistics_by_hand(frames):
    pool = AttentiveStatistics(4, hidden=5)
    inner, outer = pool.attention[0], pool.attention[2]
    found = pool(frames).detach().numpy()
    for row, length, got in zip(frames.states.numpy(), LENGTHS, found, strict=True):
        own = row[:length]
        hidden = np.tanh(own @ inner.weight.detach().numpy().T + inner.bias.detach().numpy())
        score = (hidden @ outer.weight.detach().numpy().T + outer.bias.detach().numpy())[:, 0]
        weight = np.exp(score) / np.exp(score).sum()
        mean = (weight[:, None] * own).sum(0)
        spread = np.sqrt(np.maximum((weight[:, None] * (own - mean) ** 2).sum(0), 1e-6))
        np.testing.assert_allclose(got, np.concatenate([mean, spread]), atol=1e-5)


def test_attentive_gradients_stay_finite_where_nothing_varies():
    pool = AttentiveStatistics(4)
    states = torch.ones(2, 5, 4, requires_grad=True)
    pool(Frames(states, torch.tensor([5, 1]))).sum().backward()
    assert states.grad is not None and bool(states.grad.isfinite().all())
    assert states.grad[1, 1:].abs().max() == 0  # padding learns nothing
