"""A run folder is held by one process, is never mixed of two contents, and never removes what its run starts from."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.run_dir import RUN_FILES, RunDir
from speechxfer.config import load_recipe
from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter

FIRST = "stage 0 (all)"


def state(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_starts_from_what_it_would_replace_is_refused(tiny_recipe, quiet, tmp_path):
    output = adapt(tiny_recipe("stages.0.epochs=1"), reporter=quiet).run_dir.path
    before = state(output)
    for source in (output, output / "model"):
        with pytest.raises(UserError, match="would remove an input of this run") as caught:
            adapt(tiny_recipe(f"encoder.name={source}", "overwrite=true"), reporter=quiet)
        assert "encoder.name" in str(caught.value) and "output=DIR" in str(caught.value)
    with pytest.raises(UserError, match=r"data\.test: overwrite=true would remove"):
        adapt(tiny_recipe(f"data.test={output / 'after.jsonl'}", "overwrite=true"), reporter=quiet)
    assert state(output) == before


@pytest.mark.parametrize("changed", ["data.train", "data.dev", "encoder.name"])
def test_a_run_is_resumed_on_what_it_was_begun_with(
    recipe_values, corpus_table, tiny_whisper, recording_reporter, raise_interrupt, quiet, tmp_path, changed
):
    """Its dev rates would be of other references, its batches of other utterances, its head of other characters."""
    rows = list(csv.DictReader(corpus_table.open()))
    table, encoder = tmp_path / "table.csv", tmp_path / "encoder"

    def written(texts: dict[str, str]) -> None:
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            for row in rows:
                text = row["text"] + texts.get(f"data.{row['split']}", "")
                writer.writerow({**row, "audio": corpus_table.parent / row["audio"], "text": text})

    written({})
    shutil.copytree(tiny_whisper, encoder)
    recipe = load_recipe(
        recipe_values, [f"data.train={table}", f"encoder.name={encoder}", f"output={tmp_path / 'run'}"]
    )
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({(FIRST, 2): raise_interrupt}))
    written({changed: " more"})
    if changed == "encoder.name":
        from safetensors.torch import load_file, save_file

        weights = load_file(encoder / "model.safetensors")
        weights["model.encoder.layer_norm.weight"] += 0.5
        save_file(weights, encoder / "model.safetensors", metadata={"format": "pt"})
    before = state(tmp_path / "run")
    with pytest.raises(UserError, match=f"started with different content of {changed}\n") as caught:
        adapt(recipe, resume=True, reporter=quiet)
    assert "overwrite=true" in str(caught.value)
    assert state(tmp_path / "run") == before


SECOND = """
import json, sys
from speechxfer.adaptation.run import adapt
from speechxfer.config import load_recipe
from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter

values, overrides, resume = map(json.loads, sys.argv[1:])
try:
    adapt(load_recipe(values, overrides), resume=resume, reporter=Reporter(quiet=True))
    print("trained")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_is_being_trained_is_left_alone(recipe_values, recording_reporter, tmp_path, fork_server, resume):
    """The connection broke, the process lives on, and its user starts another."""
    overrides = [f"output={tmp_path / 'run'}"] + ([] if resume else ["overwrite=true"])
    heard: list[str] = []

    def another() -> None:
        process = fork_server.run("-c", SECOND, *map(json.dumps, (recipe_values, overrides, resume)))
        assert process.returncode == 0, process.errors
        heard.append(process.output)

    recipe = load_recipe(recipe_values, [f"output={tmp_path / 'run'}"])
    run = adapt(recipe, reporter=recording_reporter({(FIRST, 2): another}))
    assert len(heard) == 1 and "another process is working in this run" in heard[0]
    assert run.run_dir.is_finished
    adapt(load_recipe(recipe_values, overrides), resume=resume, reporter=Reporter(quiet=True))  # and then it is free


def test_a_folder_that_is_half_removed_is_still_a_run_to_replace(tiny_recipe, quiet, tmp_path, monkeypatch):
    adapt(tiny_recipe("stages.0.epochs=1"), reporter=quiet)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        adapt(tiny_recipe("stages.0.epochs=1", "overwrite=true"), reporter=quiet)
    monkeypatch.undo()
    folder = RunDir(tmp_path / "run")
    assert folder.is_started and not folder.is_finished
    assert (RUN_FILES[0], RUN_FILES[-1]) == ("report.json", "recipe.yaml")
    assert adapt(tiny_recipe("stages.0.epochs=1", "overwrite=true"), reporter=quiet).run_dir.is_finished
