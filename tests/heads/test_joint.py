"""The CTC head beside Whisper's decoder: each utterance from its own frames, and a distribution over texts."""

from __future__ import annotations

import itertools

import pytest
import torch

from speechxfer.heads.ctc import CtcHead, compute_ctc_log_probs
from speechxfer.shapes import IGNORE_INDEX, Emissions, Frames


@pytest.mark.parametrize("recurrent", [0, 1, 2])
def test_emissions_are_an_utterances_own(recurrent):
    torch.manual_seed(0)
    head = CtcHead(16, 5, recurrent=recurrent, dropout=0.3).eval()
    lengths = torch.tensor([7, 3, 11])
    states = torch.randn(3, 11, 16)
    together = head(Frames(states, lengths)).log_probs
    assert together.shape == (3, 11, 5)
    for row, length in enumerate(lengths.tolist()):
        alone = head(Frames(states[row : row + 1, :length], lengths[row : row + 1])).log_probs[0]
        torch.testing.assert_close(together[row, :length], alone)
        torch.testing.assert_close(alone.exp().sum(-1), torch.ones(length))


def test_log_probs_of_all_texts_sum_to_one():
    """Three frames over a blank and two symbols: every text of at most three symbols, and none beside."""
    torch.manual_seed(1)
    log_probs = torch.randn(1, 3, 3).log_softmax(-1)
    texts = [text for size in range(4) for text in itertools.product((1, 2), repeat=size)]
    labels = torch.full((len(texts), 3), IGNORE_INDEX)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = torch.tensor(text, dtype=torch.int64)
    emissions = Emissions(log_probs.expand(len(texts), -1, -1), torch.full((len(texts),), 3))
    found = compute_ctc_log_probs(emissions, labels, blank=0)
    assert found.exp().sum().item() == pytest.approx(1)
    assert found[texts.index((1, 1, 1))] == float("-inf")  # a blank must stand between equal ones
