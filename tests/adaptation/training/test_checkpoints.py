"""An interrupted run goes on where it stopped, and ends bit-equal to one that nothing interrupted."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.training import batching
from speechxfer.adaptation.training import checkpoints as checkpoints_module
from speechxfer.adaptation.training.checkpoints import find_last_valid_checkpoint, write_digests
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel

# three steps an epoch or more; dropout, masks, speeds and padding must all come out as they would have
RECIPE = (
    "stages=[{train: head, epochs: 2, lr: 3e-3, batch_seconds: 2.5, patience: 2},"
    " {train: all, epochs: 2, lr: 3e-3, batch_seconds: 2.5}]",
    "augment={speed: [0.9, 1.0, 1.1], noise: 0.5, time_masks: 1, freq_masks: 1, pad_to_30s: 0.3}",
    "head={kind: classify, pooling: attentive, dropout: 0.2}",  # it answers at once, and beats none
)
FIRST, SECOND = "stage 0 (head)", "stage 1 (all)"


@pytest.fixture(scope="module")
def uninterrupted(recipe_values, tmp_path_factory):
    """The whole run, the steps of an epoch, and where its checkpoints lie."""
    from speechxfer.config import load_recipe
    from speechxfer.report.progress import Reporter

    output = tmp_path_factory.mktemp("whole") / "run"
    run = adapt(load_recipe(recipe_values, [*RECIPE, f"output={output}"]), reporter=Reporter(quiet=True))
    steps = max(int(path.name.partition("-")[2]) for path in (output / "checkpoints/stage-0").glob("checkpoint-*")) // 2
    assert steps >= 3
    return run, steps


@pytest.fixture(scope="module")
def stopped(recipe_values, uninterrupted, recording_reporter, raise_interrupt, tmp_path_factory):
    """The folder of a run that Ctrl-C stopped after the first step of its second epoch: to be copied."""
    from speechxfer.config import load_recipe

    output = tmp_path_factory.mktemp("stopped") / "run"
    narrator = recording_reporter({(FIRST, uninterrupted[1] + 1): raise_interrupt})
    with pytest.raises(KeyboardInterrupt):
        adapt(load_recipe(recipe_values, [*RECIPE, f"output={output}"]), reporter=narrator)
    return output


@pytest.fixture
def recipe(recipe_values, tmp_path):
    from speechxfer.config import load_recipe

    return load_recipe(recipe_values, [*RECIPE, f"output={tmp_path / 'run'}"])


def equal(run, truth, same_weights) -> bool:
    """Both stages' last checkpoints and best epochs, the answers, and the log of epochs."""
    for number in (0, 1):
        mine, theirs = (one.run_dir.checkpoints / f"stage-{number}" for one in (run, truth))
        assert find_last_valid_checkpoint(mine) is not None
        assert Path(str(find_last_valid_checkpoint(mine))).name == Path(str(find_last_valid_checkpoint(theirs))).name
        if not same_weights(Path(str(find_last_valid_checkpoint(mine))), Path(str(find_last_valid_checkpoint(theirs)))):
            return False
        keys = ("epochs", "best", "dev")
        assert [run.report.to_json()["stages"][number][k] for k in keys] == [
            truth.report.to_json()["stages"][number][k] for k in keys
        ]
    assert same_weights(run.run_dir.model, truth.run_dir.model)
    return run.run_dir.after.read_text() == truth.run_dir.after.read_text()


@pytest.mark.parametrize(
    ("title", "epochs", "steps"),
    [
        (FIRST, 0, 1),  # in the first epoch
        (FIRST, 0, -1),  # at its last step: its dev measure is made before the checkpoint
        (FIRST, 1, 2),  # in the second
        (FIRST, 1, -1),  # at the stage's very last step
        (SECOND, 0, 2),  # the first stage is done
    ],
    ids=["first-epoch", "end-of-first", "second-epoch", "last-step", "second-stage"],
)
def test_ctrl_c_then_resume(
    uninterrupted, recipe, recording_reporter, quiet, raise_interrupt, same_weights, title, epochs, steps
):
    truth, each = uninterrupted
    step = (epochs + 1) * each if steps == -1 else epochs * each + steps
    narrator = recording_reporter({(title, step): raise_interrupt})
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=narrator)
    assert narrator.logged(f"interrupted at step {step} of ")
    place = Path(str(recipe.output)) / "checkpoints" / ("stage-0" if title == FIRST else "stage-1")
    assert Path(str(find_last_valid_checkpoint(place))).name == f"checkpoint-{step}"
    assert not (Path(str(recipe.output)) / "report.json").exists()
    with pytest.raises(UserError, match="an unfinished run already exists"):
        adapt(recipe, reporter=quiet)
    torch.manual_seed(99)
    assert equal(adapt(recipe, resume=True, reporter=quiet), truth, same_weights)


def test_a_stage_of_half_an_epoch_ends_once(tiny_recipe, recording_reporter, quiet, tmp_path):
    """Killed after its last checkpoint and before it is called done: nothing is left to train."""
    recipe = tiny_recipe("stages.0.epochs=1.5")
    truth = adapt(recipe, reporter=quiet)
    folder = truth.run_dir
    for path in (folder.path / "report.json", folder.checkpoints / "stage-0" / "stage_done.json"):
        path.unlink()
    steps = find_last_valid_checkpoint(folder.checkpoints / "stage-0")
    again = adapt(recipe, resume=True, reporter=quiet)
    assert [one["epoch"] for one in again.report.to_json()["stages"][0]["epochs"]] == [1.0, 1.5]
    assert find_last_valid_checkpoint(folder.checkpoints / "stage-0") == steps
    assert again.after.to_json() == truth.after.to_json()


def test_a_stage_s_seconds_are_those_before_an_interruption_too(recipe, recording_reporter, quiet, raise_interrupt):
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({(FIRST, 2): raise_interrupt}))
    checkpoint = Path(str(find_last_valid_checkpoint(Path(str(recipe.output)) / "checkpoints" / "stage-0")))
    took = json.loads((checkpoint / "seconds.json").read_text())
    assert 0 < took < 900
    (checkpoint / "seconds.json").write_text("1000.5")
    write_digests(checkpoint, checkpoint.parent)
    report = adapt(recipe, resume=True, reporter=quiet).report.to_json()
    assert 1000.5 < report["stages"][0]["seconds"] < 1900 and report["stages"][1]["seconds"] < 900
    assert report["speed"]["total_seconds"] > report["speed"]["training_seconds"] > 1000.5


def test_batches_made_by_other_processes_are_the_same_and_outlive_ctrl_c(
    uninterrupted, recipe, recording_reporter, quiet, raise_interrupt, same_weights, monkeypatch
):
    monkeypatch.setattr(batching, "count_loader_workers", lambda device: 2)

    def ctrl_c_for_all() -> None:  # as a terminal sends it to its whole foreground
        children = multiprocessing.active_children()
        assert len(children) == 2
        for child in children:
            os.kill(int(child.pid or 0), signal.SIGINT)
        raise_interrupt()

    narrator = recording_reporter({(FIRST, 2): ctrl_c_for_all})
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=narrator)
    assert narrator.logged("interrupted at step 2 of ")
    assert equal(adapt(recipe, resume=True, reporter=quiet), uninterrupted[0], same_weights)


def test_ctrl_c_twice_stops_at_once(recipe, recording_reporter, quiet, raise_interrupt):
    def twice() -> None:
        raise_interrupt()
        raise_interrupt()

    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({(FIRST, 1): twice}))
    assert find_last_valid_checkpoint(Path(str(recipe.output)) / "checkpoints/stage-0") is None


def test_ctrl_c_while_dev_is_measured_waits_for_the_measure(recipe, recording_reporter, raise_interrupt, uninterrupted):
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({(f"{FIRST}, dev", 3): raise_interrupt}))
    checkpoint = find_last_valid_checkpoint(Path(str(recipe.output)) / "checkpoints/stage-0")
    state = json.loads((Path(str(checkpoint)) / "trainer_state.json").read_text())
    assert state["global_step"] == uninterrupted[1]
    assert [entry["eval_error"] for entry in state["log_history"] if "eval_error" in entry]


def test_a_crash_loses_no_more_than_the_epoch(uninterrupted, recipe, recording_reporter, quiet, same_weights):
    truth, each = uninterrupted

    def crash() -> None:
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        adapt(recipe, reporter=recording_reporter({(FIRST, each + 1): crash}))
    assert equal(adapt(recipe, resume=True, reporter=quiet), truth, same_weights)


def test_a_run_that_was_moved_goes_on_where_it_lies(
    uninterrupted, recipe, recording_reporter, quiet, raise_interrupt, same_weights, tmp_path
):
    truth, each = uninterrupted
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({(SECOND, each + 1): raise_interrupt}))
    shutil.move(str(recipe.output), tmp_path / "moved")
    recipe.output = str(tmp_path / "moved")
    assert equal(adapt(recipe, resume=True, reporter=quiet), truth, same_weights)
    assert not (tmp_path / "run").exists()


def test_overwrite_does_not_throw_away_what_resume_asks_for(recipe, recording_reporter, quiet, raise_interrupt):
    """The words that began a run, typed again with --resume."""
    recipe.overwrite = True
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({(SECOND, 1): raise_interrupt}))
    narrator = recording_reporter()
    adapt(recipe, resume=True, reporter=narrator)
    assert narrator.logged(f"{FIRST}: already done")


def test_resume_with_other_values_is_refused(recipe, stopped, recording_reporter):
    shutil.copytree(stopped, recipe.output)
    recipe.stages[0].lr = 1.0
    with pytest.raises(UserError, match="started with different values of stages"):
        adapt(recipe, resume=True, reporter=recording_reporter())


def test_a_run_begun_before_a_key_was_known_is_resumed(recipe, stopped, recording_reporter):
    shutil.copytree(stopped, recipe.output)
    stored = Path(recipe.output) / "recipe.yaml"
    values = yaml.safe_load(stored.read_text())
    del values["decoding"]["length_penalty"], values["lora"]
    stored.write_text(yaml.safe_dump(values))
    narrator = recording_reporter()
    adapt(recipe, resume=True, reporter=narrator)
    assert not narrator.logged("starting a new one")
    stored.write_text("stages: 7")
    Path(recipe.output, "report.json").unlink()
    with pytest.raises(UserError, match="cannot be read as the recipe of a run"):
        adapt(recipe, resume=True, reporter=recording_reporter())


def test_patience_counts_the_epochs_before_the_interruption(
    tiny_recipe, recording_reporter, quiet, raise_interrupt, monkeypatch
):
    recipe = tiny_recipe("stages.0.epochs=9", "stages.0.patience=2", "stages.0.batch_seconds=99")  # a step an epoch
    errors = iter([0.9, 0.5, 0.6, 0.9, 0.7, 0.1, 0.1])  # the untouched model is measured again on resuming
    monkeypatch.setattr(Evaluator, "evaluate_dev", lambda *_: next(errors))
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({("stage 0 (all)", 2): raise_interrupt}))
    run = adapt(recipe, resume=True, reporter=quiet)
    assert [epoch["dev"] for epoch in run.report.to_json()["stages"][0]["epochs"]] == [0.5, 0.6, 0.7]


def test_a_stage_that_had_run_out_of_patience_is_not_begun_again(
    tiny_recipe, recording_reporter, quiet, raise_interrupt, monkeypatch
):
    recipe = tiny_recipe("stages.0.epochs=9", "stages.0.patience=1", "stages.0.batch_seconds=99")
    errors = iter([0.9, 0.5, 0.6, 0.9, 0.1, 0.1])
    monkeypatch.setattr(Evaluator, "evaluate_dev", lambda *_: next(errors))
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({("stage 0 (all)", 2): raise_interrupt}))
    run = adapt(recipe, resume=True, reporter=quiet)
    assert [epoch["dev"] for epoch in run.report.to_json()["stages"][0]["epochs"]] == [0.5, 0.6]
    assert run.report.to_json()["stages"][0]["best"] == "checkpoint-1" and run.report.to_json()["selected"] == "stage 0"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("IoError: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_fills_at_a_checkpoint(uninterrupted, recipe, quiet, same_weights, monkeypatch, error):
    truth, each = uninterrupted
    whole, count = checkpoints_module.save_model, iter(range(9))

    def save(model, path):
        if next(count) == 1:
            Path(path).write_bytes(b"half")
            raise error
        whole(model, path)

    monkeypatch.setattr(checkpoints_module, "save_model", save)
    with pytest.raises(UserError, match="the disk is full") as caught:
        adapt(recipe, reporter=quiet)
    assert "--resume" in str(caught.value) and str(recipe.output) in str(caught.value)
    place = Path(str(recipe.output)) / "checkpoints/stage-0"
    assert (place / f"checkpoint-{2 * each}" / "model.safetensors").read_bytes() == b"half"
    assert Path(str(find_last_valid_checkpoint(place))).name == f"checkpoint-{each}"
    assert equal(adapt(recipe, resume=True, reporter=quiet), truth, same_weights)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
def test_a_checkpoint_that_is_cut_short_is_passed_over(uninterrupted, stopped, recipe, quiet, same_weights, file):
    truth, each = uninterrupted
    shutil.copytree(stopped, recipe.output)
    newest = Path(str(recipe.output)) / f"checkpoints/stage-0/checkpoint-{each + 1}"
    os.truncate(newest / file, (newest / file).stat().st_size // 2)
    assert equal(adapt(recipe, resume=True, reporter=quiet), truth, same_weights)


def flip(path: Path) -> None:
    """Change 64 bytes in the middle of a file; its length stays."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - byte for byte in content[middle : middle + 64])
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "trainer_state.json", "digests.json"])
def test_a_checkpoint_with_changed_bytes_is_not_used(
    uninterrupted, stopped, recipe, recording_reporter, same_weights, file
):
    truth, each = uninterrupted
    shutil.copytree(stopped, recipe.output)
    flip(Path(recipe.output) / f"checkpoints/stage-0/checkpoint-{each + 1}" / file)
    narrator = recording_reporter()
    assert equal(adapt(recipe, resume=True, reporter=narrator), truth, same_weights)
    assert narrator.logged(f"checkpoint-{each + 1} is damaged")
    assert narrator.logged(f"training continues from checkpoint-{each}")


def test_without_an_undamaged_checkpoint_the_stage_starts_again(
    uninterrupted, stopped, recipe, recording_reporter, same_weights
):
    """The newest checkpoint is whole, but the best epoch's weights are those of the damaged one."""
    truth, each = uninterrupted
    shutil.copytree(stopped, recipe.output)
    flip(Path(recipe.output) / f"checkpoints/stage-0/checkpoint-{each}" / "model.safetensors")
    narrator = recording_reporter()
    assert equal(adapt(recipe, resume=True, reporter=narrator), truth, same_weights)
    assert narrator.logged("the stage is trained from its start")


@pytest.mark.parametrize("damage", ["best", "epoch", "entry"])
def test_a_finished_stage_that_is_damaged(
    uninterrupted, recipe, recording_reporter, raise_interrupt, quiet, same_weights, damage
):
    truth, _ = uninterrupted
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({(SECOND, 1): raise_interrupt}))
    stage = Path(str(recipe.output)) / "checkpoints/stage-0"
    best = json.loads((stage / "stage_done.json").read_text())["best"]
    if damage == "entry":
        os.truncate(stage / "stage_done.json", 20)
    else:
        flip((stage if damage == "best" else stage / "epochs") / best / "model.safetensors")
    narrator = recording_reporter()
    assert equal(adapt(recipe, resume=True, reporter=narrator), truth, same_weights)
    expected = "continues from its last checkpoint" if damage == "entry" else "the stage is trained again"
    assert narrator.logged(expected) and narrator.logged("is damaged")


def test_nothing_to_resume_is_said(recipe, recording_reporter, raise_interrupt):
    reported = recording_reporter({(FIRST, 1): raise_interrupt})
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, resume=True, reporter=reported)
    assert reported.logged("holds no run to resume")


def test_a_disk_that_fills_while_the_model_is_saved(uninterrupted, recipe, quiet, same_weights, monkeypatch):
    def fail(_, folder):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise SafetensorError("IoError: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(SpeechModel, "save", fail)
        with pytest.raises(UserError, match="the disk is full"):
            adapt(recipe, reporter=quiet)
    run = Path(str(recipe.output))
    assert not (run / "model").exists() and not (run / ".model.part").exists() and not (run / "report.json").exists()
    assert equal(adapt(recipe, resume=True, reporter=quiet), uninterrupted[0], same_weights)


def test_a_folder_that_cannot_be_written(recipe, quiet, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        adapt(recipe, reporter=quiet)
