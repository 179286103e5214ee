"""LSTMs over padded batches: what torch's packed sequences give, in training too, and nothing of the neighbours."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechxfer.heads.bilstm import BiLSTM


def packed(context: BiLSTM, states: Tensor, lengths: Tensor) -> Tensor:
    rows = pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(nn.LSTM.forward(context, rows)[0], batch_first=True, total_length=states.shape[1])[0]


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    beyond=st.integers(0, 3),
    layers=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_it_is_the_packed_one_and_so_are_its_gradients(lengths, beyond, layers, seed):
    torch.manual_seed(seed)
    context = BiLSTM(6, layers)
    states = torch.randn(len(lengths), max(lengths) + beyond, 6, requires_grad=True)
    weights = torch.randn(len(lengths), max(lengths) + beyond, 6)
    found, truth = (way(states, torch.tensor(lengths)) for way in (context, lambda *a: packed(context, *a)))
    torch.testing.assert_close(found, truth, atol=1e-6, rtol=1e-5)
    sources = [states, *context.parameters()]
    gradients = [torch.autograd.grad((made * weights).sum(), sources) for made in (found, truth)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_it_stays_in_float32_under_autocast():
    context, states, lengths = BiLSTM(6, 2), torch.randn(2, 5, 6), torch.tensor([5, 3])
    truth = packed(context, states, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        assert context(states.bfloat16(), lengths).dtype == torch.float32
        torch.testing.assert_close(context(states, lengths), truth)


def test_between_its_layers_it_drops_in_training_alone():
    torch.manual_seed(0)
    context, states, lengths = BiLSTM(6, 2, dropout=0.5), torch.randn(2, 5, 6), torch.tensor([5, 3])
    assert not torch.equal(context(states, lengths), context(states, lengths))
    context.eval()
    assert torch.equal(context(states, lengths), context(states, lengths))
    torch.testing.assert_close(context(states, lengths), packed(context, states, lengths))


@pytest.mark.parametrize("layers", [1, 2])
def test_what_stands_behind_an_utterance_does_not_reach_it(layers):
    context, states, lengths = BiLSTM(6, layers).eval(), torch.randn(2, 7, 6), torch.tensor([7, 4])
    before = context(states, lengths)
    states[1, 4:] = 1e4
    after = context(states, lengths)
    assert torch.equal(after, before) and not after[1, 4:].any()
