"""Tensors with their lengths: what is valid, and what padding is."""

from __future__ import annotations

import pytest
import torch

from speechxfer.shapes import Emissions, Inputs, length_mask, pad_targets


def test_a_mask_is_true_where_a_step_is_valid() -> None:
    assert length_mask(torch.tensor([0, 2, 3]), 3).tolist() == [
        [False, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    ("rows", "padded"),
    [([[1, 2], [3]], [[1, 2], [3, -100]]), ([[], []], [[-100], [-100]]), ([], [])],
)
def test_targets_are_padded_to_at_least_one_column(rows: list[list[int]], padded: list[list[int]]) -> None:
    targets = pad_targets(rows)
    assert targets.dtype == torch.int64 and targets.shape[1] >= 1
    assert targets.tolist() == padded


def test_emissions_of_an_utterance_have_no_padding() -> None:
    log_probs = torch.arange(12.0, dtype=torch.float64).reshape(2, 3, 2).requires_grad_()
    rows = Emissions(log_probs, torch.tensor([3, 1])).split_rows()
    assert [row.tolist() for row in rows] == [[[0, 1], [2, 3], [4, 5]], [[6, 7]]]
    assert all(row.dtype == torch.float32 and not row.requires_grad for row in rows)


def test_inputs_change_the_type_of_the_features_alone() -> None:
    moved = Inputs(torch.ones(1, 2), torch.tensor([2])).to("cpu", torch.bfloat16)
    assert (moved.features.dtype, moved.lengths.dtype) == (torch.bfloat16, torch.int64)
