"""The batch size that a stage starts with, that it is halved to, and that a resumed run finds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import Dataset

from speechxfer.adaptation.training.batch_size import (
    MIN_BATCH_SECONDS,
    BatchSize,
    halve_batch_size,
    make_batches,
    read_batch_size,
)
from speechxfer.config.recipe import AugmentConfig, StageConfig
from speechxfer.errors import UserError


@pytest.fixture
def stage() -> StageConfig:
    return StageConfig(train="all", epochs=2.5, lr=1e-3, batch_seconds=8, gradient_accumulation=3)


def test_a_new_stage_has_the_size_of_its_recipe(stage: StageConfig, tmp_path: Path) -> None:
    assert read_batch_size(tmp_path, stage) == BatchSize(8, 3)


def test_half_the_seconds_twice_the_batches_and_a_resumed_run_has_both(stage: StageConfig, tmp_path: Path) -> None:
    stage_dir, lines = tmp_path / "stage-0", list[str]()
    (stage_dir / "checkpoint-7").mkdir(parents=True)
    halved = halve_batch_size(BatchSize(8, 3), "2 GiB", stage_dir, lines.append)
    assert halved == BatchSize(4, 6) == read_batch_size(stage_dir, stage)
    assert halved.batch_seconds * halved.gradient_accumulation == 8 * 3  # the seconds of a step
    assert lines == ["out of GPU memory: continuing with 4 s of audio per batch, 6 batches per step"]
    assert [path.name for path in stage_dir.iterdir()] == ["batches.json"]  # no checkpoint of the larger batches
    assert halve_batch_size(halved, "2 GiB", stage_dir, lines.append) == read_batch_size(stage_dir, stage)


def test_the_smallest_batch_is_not_halved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"smallest batch \(tried to allocate 2 GiB\)") as caught:
        halve_batch_size(BatchSize(MIN_BATCH_SECONDS, 1), "tried to allocate 2 GiB", tmp_path, print)
    assert "train fewer layers" in str(caught.value) and tmp_path.is_dir()


def test_batches_hold_every_utterance_of_an_epoch_within_the_seconds(stage: StageConfig) -> None:
    seconds = [1.0 + number % 4 for number in range(20)]
    context: Any = SimpleNamespace(
        durations=seconds, stage=stage, seed=5, weights=None, join_plan=None,
        staged=SimpleNamespace(augment=AugmentConfig()),
    )  # fmt: skip
    batches = make_batches(context, Dataset(), BatchSize(4, 6))
    found = [[draw.row for draw in batch] for batch in batches]
    assert sorted(row for batch in found for row in batch) == list(range(20))
    assert all(sum(seconds[row] for row in batch) <= 4 for batch in found)
    assert len(found) == len(batches)
