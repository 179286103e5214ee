"""Every recipe that ships: it reads, says how to run it, survives being written down, and trains."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.config import (
    REQUIRED,
    WAKEWORD_TRAIN,
    detect_command,
    dump_recipe,
    load_command_settings,
    load_recipe,
    shipped_recipes,
)
from speechxfer.report.progress import Reporter

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))
WAKE_WORDS = [path for path in RECIPES if detect_command(path) == WAKEWORD_TRAIN]
ADAPTATIONS = [path for path in RECIPES if path not in WAKE_WORDS]


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
    if path in WAKE_WORDS:
        assert run.split()[1:4] == ["speechxfer", "wakeword", "train"] and run.endswith(f"--recipe {path.stem}")
    else:
        assert f"speechxfer adapt {path.stem} data.train=" in run or run.split()[1:3] == ["speechxfer", path.stem]


@pytest.mark.parametrize("path", ADAPTATIONS, ids=lambda path: path.stem)
def test_written_down_and_read_again_it_is_the_same(path, tmp_path):
    recipe = load_recipe(path)
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == recipe
    assert recipe.data.train == REQUIRED  # nobody's table is written into a recipe


@pytest.mark.parametrize("path", ADAPTATIONS, ids=lambda path: path.stem)
def test_it_trains_two_steps_a_stage(
    path: Path, corpus_table: Path, tiny_whisper: Path, tmp_path: Path, same_weights: Callable[[Path, Path], bool]
):
    from speechxfer.adaptation.run import adapt

    recipe = load_recipe(
        path, [f"data.train={corpus_table}", f"encoder.name={tiny_whisper}", "device=cpu", f"output={tmp_path}/run"]
    )
    for stage in recipe.stages:
        stage.epochs = 2  # of one batch each
    run = adapt(recipe, reporter=Reporter(quiet=True))
    assert run is not None
    assert [len(stage["epochs"]) for stage in run.report.to_json()["stages"]] == [2] * len(recipe.stages)
    for number in range(len(recipe.stages)):
        last = tmp_path / "run" / "checkpoints" / f"stage-{number}" / "checkpoint-2"
        state = json.loads((last / "trainer_state.json").read_text())
        losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
        assert state["global_step"] == 2
        assert losses and all(math.isfinite(loss) and loss > 0 for loss in losses)
        assert not same_weights(last, last.parent / "checkpoint-1")


def wake_word(path: Path, output: Path, **given: object):
    from speechxfer.wakeword.settings import WakeWordSettings

    values = {"word": "tone", "output": output, **given}
    return load_command_settings(WakeWordSettings, path, values, command=WAKEWORD_TRAIN, absent={})


@pytest.mark.parametrize("path", WAKE_WORDS, ids=lambda path: path.stem)
def test_a_wake_word_s_recipe_read_written_down_and_read_again_is_the_same(path, tmp_path):
    settings = wake_word(path, tmp_path / "d")
    (tmp_path / "again.yaml").write_text(dump_recipe(settings), encoding="utf-8")
    assert wake_word(tmp_path / "again.yaml", tmp_path / "d") == settings
    assert settings.positives is None and settings.negatives is None  # nobody's recordings are written into a recipe


@pytest.mark.parametrize("path", WAKE_WORDS, ids=lambda path: path.stem)
def test_a_wake_word_s_recipe_trains_two_steps(path, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    from speechxfer.wakeword.data import prepare
    from speechxfer.wakeword.runtime.detector import Detector
    from speechxfer.wakeword.training.mining import ContaminationFilter
    from speechxfer.wakeword.training.train import train_detector

    monkeypatch.setattr(prepare, "TARGET_VARIANTS", 12)
    monkeypatch.setattr(ContaminationFilter, "_transcribe", lambda self, rows: [""] * len(rows))  # takes 1 s a tone
    rng = np.random.default_rng(0)
    for name, pitch in (("clips", 0.05), ("speech", 0.11)):
        (tmp_path / name).mkdir()
        for number in range(6):
            tone = 0.2 * np.sin(pitch * np.arange(12_000)) + 0.001 * rng.standard_normal(12_000)
            soundfile.write(tmp_path / name / f"{number}.wav", np.pad(tone, 6_000), 16_000)
    sounds = {"positives": str(tmp_path / "clips"), "negatives": str(tmp_path / "speech"), "synthetic": 0}
    settings = wake_word(path, tmp_path / "detector", steps=2, batch=8, **sounds)
    manifest = train_detector(settings, Reporter(quiet=True))
    assert manifest["settings"]["steps"] == 2 and manifest["model"]["width"] == settings.width
    assert np.isfinite(Detector(tmp_path / "detector").scorer.push(np.zeros(16_000, np.float32)).values).all()


def test_without_a_recipe_the_wake_word_s_shipped_values_hold(tmp_path):
    from speechxfer.wakeword.settings import WakeWordSettings

    (path,) = (path for path in WAKE_WORDS if path.stem == "wakeword")
    assert wake_word(path, tmp_path) == WakeWordSettings(word="tone", output=tmp_path)
