"""Every recipe that ships: it reads, says how to run it, survives being written down, and trains."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from speechxfer.config import REQUIRED, dump_recipe, load_recipe, shipped_recipes
from speechxfer.report.progress import Narrator

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


def test_every_recipe_of_the_folder_is_shipped():
    assert RECIPES
    assert sorted(shipped_recipes().values()) == RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_its_header_says_what_it_is_for_and_how_to_run_it(path):
    header = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        header.append(line.lstrip("# "))
    assert len(header[0]) > 20
    run = next(line for line in header if line.startswith("Run:"))
    assert f"speechxfer adapt {path.stem} data.train=" in run or run.split()[1:3] == ["speechxfer", path.stem]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_written_down_and_read_again_it_is_the_same(path, tmp_path):
    recipe = load_recipe(path)
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == recipe
    assert recipe.data.train == REQUIRED  # nobody's table is written into a recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_trains_two_steps_a_stage(
    path: Path, corpus_table: Path, tiny_whisper: Path, tmp_path: Path, same_weights: Callable[[Path, Path], bool]
):
    from speechxfer.adaptation.run import adapt

    recipe = load_recipe(
        path, [f"data.train={corpus_table}", f"encoder.name={tiny_whisper}", "device=cpu", f"output={tmp_path}/run"]
    )
    for stage in recipe.stages:
        stage.epochs = 2  # of one batch each
    run = adapt(recipe, narrator=Narrator(quiet=True))
    assert run is not None
    assert [len(stage["epochs"]) for stage in run.report["stages"]] == [2] * len(recipe.stages)
    for number in range(len(recipe.stages)):
        last = tmp_path / "run" / "checkpoints" / f"stage-{number}" / "checkpoint-2"
        state = json.loads((last / "trainer_state.json").read_text())
        losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
        assert state["global_step"] == 2
        assert losses and all(math.isfinite(loss) and loss > 0 for loss in losses)
        assert not same_weights(last, last.parent / "checkpoint-1")
