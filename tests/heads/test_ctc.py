"""The CTC loss against its definition, counted path by path, and against torch's own on one utterance."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from speechxfer.heads.ctc import compute_ctc_loss
from speechxfer.shapes import Emissions


def emissions(*lengths: int, vocabulary: int = 5, seed: int = 0) -> Emissions:
    """Random log-probabilities, and nonsense beyond each length."""
    torch.manual_seed(seed)
    log_probs = torch.randn(len(lengths), max(lengths), vocabulary).log_softmax(-1)
    for row, length in zip(log_probs, lengths, strict=True):
        row[length:] = 7.0
    return Emissions(log_probs.requires_grad_(), torch.tensor(lengths))


def padded(*targets: list[int]) -> Tensor:
    labels = torch.full((len(targets), max(1, *map(len, targets))), -100)
    for row, target in zip(labels, targets, strict=True):
        row[: len(target)] = torch.tensor(target, dtype=torch.int64)
    return labels


def value_of(loss: Tensor) -> float:
    return float(loss.detach())


def by_definition(log_probs: Tensor, target: list[int]) -> float:
    """-log of the summed probability of every path that becomes the target (Graves et al. 2006, equation 3)."""
    total = 0.0
    for path in itertools.product(range(log_probs.shape[1]), repeat=log_probs.shape[0]):
        if [symbol for symbol, _ in itertools.groupby(path) if symbol != 0] == target:
            total += math.exp(sum(float(log_probs[frame, symbol]) for frame, symbol in enumerate(path)))
    return -math.log(total)


@pytest.mark.parametrize("target", [[1, 2], [1, 1], [2], [], [1, 2, 1]])
def test_one_utterance_by_every_path(target):
    given = emissions(4, vocabulary=3)
    truth = by_definition(given.log_probs[0].detach(), target)
    assert value_of(compute_ctc_loss(given, padded(target), 0)) == pytest.approx(truth, rel=1e-5)


def test_a_batch_is_the_sum_of_torchs_own_loss_of_each():
    targets = [[1, 2, 3], [4], [2, 2], []]
    given = emissions(9, 3, 6, 2)
    truth = 0.0
    for row, length, target in zip(given.log_probs, given.lengths.tolist(), targets, strict=True):
        alone = row[:length].detach().double()
        args = torch.tensor(target, dtype=torch.int64), torch.tensor(length), torch.tensor(len(target))
        truth += float(F.ctc_loss(alone, *args, blank=0, reduction="sum"))
    assert value_of(compute_ctc_loss(given, padded(*targets), 0)) == pytest.approx(truth, rel=1e-5)


def test_the_blank_may_stand_elsewhere():
    given = emissions(5, vocabulary=4)
    moved = Emissions(given.log_probs.detach()[:, :, [1, 2, 3, 0]], given.lengths)
    assert value_of(compute_ctc_loss(moved, padded([0, 1]), 3)) == pytest.approx(
        value_of(compute_ctc_loss(given, padded([1, 2]), 0))
    )


def test_nothing_beyond_a_length_counts():
    given = emissions(9, 4)
    compute_ctc_loss(given, padded([1, 2], [3]), 0).backward()
    assert given.log_probs.grad is not None
    assert given.log_probs.grad[1, 4:].abs().max() == 0
    assert given.log_probs.grad[1, :4].abs().max() > 0


def test_a_clip_shorter_than_its_text_adds_nothing_and_breaks_nothing():
    given = emissions(9, 2)
    loss = compute_ctc_loss(given, padded([1, 2], [1, 2, 3]), 0)
    loss.backward()
    alone = emissions(9, 2)
    alone = Emissions(alone.log_probs[:1], alone.lengths[:1])
    assert value_of(loss) == pytest.approx(value_of(compute_ctc_loss(alone, padded([1, 2]), 0)))
    assert given.log_probs.grad is not None and bool(given.log_probs.grad.isfinite().all())
    assert given.log_probs.grad[1].abs().max() == 0


def test_half_precision_is_counted_in_single():
    given = emissions(40, vocabulary=30)
    half = Emissions(given.log_probs.detach().bfloat16(), given.lengths)
    again = Emissions(half.log_probs.float(), given.lengths)
    assert compute_ctc_loss(half, padded(list(range(1, 20))), 0) == compute_ctc_loss(
        again, padded(list(range(1, 20))), 0
    )
