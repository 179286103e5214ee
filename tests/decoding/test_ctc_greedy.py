"""The best path against its definition."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.decoding.ctc_greedy import decode_greedy
from speechxfer.shapes import Emissions


def emissions_of(*paths: list[int], vocabulary: int = 4) -> Emissions:
    """Log-probabilities whose likeliest path is each of `paths`; beyond its length, symbol 3."""
    scores = torch.zeros(len(paths), max(map(len, paths)), vocabulary)
    scores[..., 3] = 1.0
    for row, path in zip(scores, paths, strict=True):
        for frame, symbol in enumerate(path):
            row[frame, symbol] = 2.0
    return Emissions(scores.log_softmax(-1), torch.tensor([len(path) for path in paths]))


def test_by_hand():
    # - a a - a b b -: "aab" with the blank at 0, where a is 1 and b is 2
    assert decode_greedy(emissions_of([0, 1, 1, 0, 1, 2, 2, 0]), 0) == [[1, 1, 2]]
    assert decode_greedy(emissions_of([0, 0]), 0) == [[]]
    assert decode_greedy(emissions_of([2, 1, 1, 2]), 2) == [[1]]  # the blank may be any symbol


def test_each_utterance_ends_at_its_own_length():
    assert decode_greedy(emissions_of([1], [1, 2, 1], [2, 2]), 0) == [[1], [1, 2, 1], [2]]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=4))
def test_repeats_merge_first_then_blanks_go(paths):
    truth = [[symbol for symbol, _ in itertools.groupby(path) if symbol] for path in paths]
    assert decode_greedy(emissions_of(*paths), 0) == truth


def test_it_is_the_likeliest_of_all_paths():
    torch.manual_seed(0)
    log_probs = torch.randn(6, 5, 3).log_softmax(-1)
    truth = []
    for row in log_probs:
        paths = itertools.product(range(3), repeat=5)
        likeliest = max(paths, key=lambda path: sum(float(row[frame, s]) for frame, s in enumerate(path)))
        truth.append([symbol for symbol, _ in itertools.groupby(likeliest) if symbol])
    assert decode_greedy(Emissions(log_probs, torch.full((6,), 5)), 0) == truth
