"""A run folder is held by one process, is never mixed of two contents, and never removes what its run starts from."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.run_dir import RUN_FILES, RunDir
from speechxfer.adaptation.training.batching import DurationBatchSampler
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


def test_other_audio_under_the_same_names_is_noticed(
    recipe_values, corpus_table, recording_reporter, raise_interrupt, quiet, tmp_path
):
    corpus = tmp_path / "corpus"
    shutil.copytree(corpus_table.parent, corpus)
    table = corpus / corpus_table.name
    recipe = load_recipe(recipe_values, [f"data.train={table}", f"output={tmp_path / 'run'}"])
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({(FIRST, 2): raise_interrupt}))
    first, second = [row["audio"] for row in csv.DictReader(table.open()) if row["split"] == "train"][:2]
    (corpus / first).rename(corpus / "aside")
    (corpus / second).rename(corpus / first)
    (corpus / "aside").rename(corpus / second)
    with pytest.raises(UserError, match=r"started with different content of data\.train"):
        adapt(recipe, resume=True, reporter=quiet)


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


TWO_STAGES = (
    "stages=[{train: head, epochs: 2, lr: 3e-3, batch_seconds: 2}, {train: [head, top-1], epochs: 1, lr: 1e-3, "
    "batch_seconds: 2}]",
    "head={kind: classify, pooling: attentive}",
)


def test_a_finished_run_is_resumed_with_more_epochs(recipe_values, recording_reporter, same_weights, tmp_path):
    def make(*overrides):
        return load_recipe(recipe_values, [*TWO_STAGES, f"output={tmp_path / 'run'}", *overrides])

    first = adapt(make(), reporter=recording_reporter()).report.to_json()["stages"]
    checkpoints = tmp_path / "run" / "checkpoints"
    steps = int(max((checkpoints / "stage-0" / "epochs").glob("checkpoint-*")).name.rpartition("-")[2])
    shutil.copytree(checkpoints / "stage-0" / "epochs", tmp_path / "epochs")
    heard = recording_reporter()
    longer = adapt(make("stages.0.epochs=4"), resume=True, reporter=heard).report.to_json()["stages"]
    assert longer[0]["epochs"][:2] == first[0]["epochs"]
    assert [one["epoch"] for one in longer[0]["epochs"]] == [1, 2, 3, 4]
    assert heard.logged("stage 0 is continued to 4 epochs; later stages")
    assert heard.logged("continued after epoch 2; the learning rate follows the schedule of 4 epochs from there")
    assert heard.logged("begins with 50% of the highest")
    for path in (tmp_path / "epochs").iterdir():  # the first epochs were not trained again
        assert same_weights(path, checkpoints / "stage-0" / "epochs" / path.name)
    state = json.loads((checkpoints / "stage-0" / f"checkpoint-{2 * steps}" / "trainer_state.json").read_text())
    rates = [
        line["learning_rate"] for line in state["log_history"] if line.get("step", 0) > steps + 1 and "loss" in line
    ]
    assert rates and max(rates) <= 1.5e-3 and rates[-1] < rates[0]
    assert [one["epoch"] for one in longer[1]["epochs"]] == [1]  # of a new training
    again = recording_reporter()
    adapt(make("stages.0.epochs=4"), resume=True, reporter=again)
    assert again.logged("nothing to do")
    with pytest.raises(UserError, match=r"different values of stages\n.*epochs may be larger"):
        adapt(make(), resume=True, reporter=again)
    with pytest.raises(UserError, match="different values of stages"):
        adapt(make("stages.0.epochs=5", "stages.0.lr=1e-3"), resume=True, reporter=again)


def test_an_interrupted_run_is_resumed_with_more_epochs(
    recipe_values, recording_reporter, raise_interrupt, same_weights, tmp_path
):
    def make(*overrides):
        return load_recipe(recipe_values, [*TWO_STAGES, f"output={tmp_path / 'run'}", *overrides])

    with pytest.raises(KeyboardInterrupt):
        adapt(make(), reporter=recording_reporter({("stage 0 (head)", 2): raise_interrupt}))
    heard = recording_reporter()
    stages = adapt(make("stages.0.epochs=3", "stages.1.epochs=2"), resume=True, reporter=heard).report.to_json()[
        "stages"
    ]
    assert [len(stage["epochs"]) for stage in stages] == [3, 2]
    assert heard.logged("stage 0 (head): continued after epoch ")


def test_a_stage_starts_again_if_its_epochs_have_other_batches(
    recipe_values, recording_reporter, tmp_path, monkeypatch
):
    def make(*overrides):
        return load_recipe(recipe_values, [*TWO_STAGES, f"output={tmp_path / 'run'}", *overrides])

    adapt(make(), reporter=recording_reporter())
    monkeypatch.setattr(DurationBatchSampler, "__len__", lambda self: self._count + 1)
    heard = recording_reporter()
    stages = adapt(make("stages.0.epochs=3"), resume=True, reporter=heard).report.to_json()["stages"]
    assert heard.logged("stage 0 (head): starts again: with 3 epochs, each has another number of batches")
    assert len(stages[0]["epochs"]) == 3
