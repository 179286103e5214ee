"""A stage's context: its title, its seed and where it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.training.context import StageContext
from speechxfer.config import load_recipe
from speechxfer.report.progress import Reporter

STAGES = [{"train": "head", "epochs": 1, "lr": 1e-3}, {"train": ["head", "top-2"], "epochs": 1, "lr": 1e-3}]


def make_context(number: int, run_dir: RunDir | None) -> StageContext:
    recipe = load_recipe({"stages": STAGES, "seed": 7})
    unused: Any = None
    return StageContext(number, recipe.stages[number], unused, unused, [1.0], recipe, Reporter(quiet=True), run_dir)


def test_each_stage_has_its_title_seed_and_directories(tmp_path: Path) -> None:
    first, second = (make_context(number, RunDir(tmp_path)) for number in (0, 1))
    assert (first.title, second.title) == ("stage 0 (head)", "stage 1 (head, top-2)")
    assert (first.seed, second.seed) == (7, 8)
    assert second.stage_dir == tmp_path / "checkpoints" / "stage-1" and second.logs_dir == tmp_path / "logs" / "stage-1"


def test_without_a_run_directory_there_is_nowhere_to_write() -> None:
    with pytest.raises(AssertionError):
        _ = make_context(0, None).stage_dir
