"""`kill -9` at any moment, then `--resume`: the weights are those of a run that nothing interrupted, bit by bit."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.training import checkpoints as checkpoints_module
from speechxfer.adaptation.training import stages as stages_module
from speechxfer.config import load_recipe
from speechxfer.encoders import frame_store
from speechxfer.encoders.frame_store import list_stores
from speechxfer.report.progress import Reporter

RECIPE = (
    "stages=[{train: head, epochs: 3, lr: 3e-3, batch_seconds: 2.5},"
    " {train: [head, top-1], epochs: 2, lr: 3e-3, batch_seconds: 2.5}]",
    "augment={speed: [0.9, 1.0, 1.1], noise: 0.5, time_masks: 1, freq_masks: 1, pad_to_30s: 0.3}",
    "head={kind: classify, pooling: attentive, dropout: 0.2}",
    "cache={use: always, copies: 2}",
    "decoding.batch_seconds=2",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def uninterrupted(recipe_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    output = tmp_path_factory.mktemp("whole") / "run"
    before, os.environ["SPEECHXFER_FRAMES"] = os.environ["SPEECHXFER_FRAMES"], str(output.parent / "frames")
    run = adapt(load_recipe(recipe_values, [*RECIPE, f"output={output}"]), reporter=Reporter(quiet=True))
    os.environ["SPEECHXFER_FRAMES"] = before
    assert [stage["cached"] for stage in run.report.to_json()["stages"]] == [True, True]
    return run


@pytest.fixture
def killed(recipe_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """killed(narrator): runs the recipe in a process of its own, which dies; what it returns is the recipe."""
    monkeypatch.setenv("SPEECHXFER_FRAMES", str(tmp_path / "frames"))
    monkeypatch.setattr(frame_store, "SHARD_BYTES", 1)  # a shard a batch
    recipe = load_recipe(recipe_values, [*RECIPE, f"output={tmp_path / 'run'}"])

    def run(narrator: Reporter) -> Any:
        process = multiprocessing.get_context("fork").Process(
            target=adapt, args=(recipe,), kwargs={"reporter": narrator}
        )
        process.start()
        process.join(600)  # seconds are enough, unless the machine has much else to do
        if process.exitcode is None:
            process.kill()
            pytest.fail("it neither died nor ended")
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / "run" / "report.json").exists()
        return recipe

    return run


def resumed(recipe: Any, truth: Any, same_weights: Callable[[Path, Path], bool]) -> None:
    run = adapt(recipe, resume=True, reporter=Reporter(quiet=True))
    for number, (mine, theirs) in enumerate(
        zip(run.report.to_json()["stages"], truth.report.to_json()["stages"], strict=True)
    ):
        assert [mine[key] for key in ("epochs", "best", "dev", "cached")] == [
            theirs[key] for key in ("epochs", "best", "dev", "cached")
        ]
        places = [one.run_dir.checkpoints / f"stage-{number}" for one in (run, truth)]
        steps = [sorted(path.name for path in place.glob("checkpoint-*")) for place in places]
        assert steps[0] == steps[1]
        assert all(same_weights(places[0] / name, places[1] / name) for name in steps[0])
    assert same_weights(run.run_dir.model, truth.run_dir.model)
    assert run.run_dir.after.read_text() == truth.run_dir.after.read_text()


def test_while_frames_are_encoded(uninterrupted, killed, recording_reporter, same_weights):
    recipe = killed(recording_reporter({("stage 0 (head), encoding", done): die for done in range(5, 19)}))
    (left,) = list_stores()
    assert 0 < left.utterances < 18
    resumed(recipe, uninterrupted, same_weights)


@pytest.mark.parametrize("step", [1, 7])
def test_in_a_stage(uninterrupted, killed, recording_reporter, same_weights, step):
    resumed(killed(recording_reporter({("stage 0 (head)", step): die})), uninterrupted, same_weights)


def test_between_stages(uninterrupted, killed, recording_reporter, same_weights, monkeypatch):
    whole, starts = stages_module.train_stage, []

    def train(*args: Any, **kwargs: Any) -> Any:
        starts.append(None)
        if len(starts) == 2:
            die()
        return whole(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(stages_module, "train_stage", train)
        recipe = killed(recording_reporter())
    assert (Path(str(recipe.output)) / "checkpoints" / "stage-0" / stages_module.STAGE_DONE_FILE).is_file()
    resumed(recipe, uninterrupted, same_weights)


@pytest.mark.parametrize("which", [0, 1, 4])
def test_while_a_checkpoint_is_saved(uninterrupted, killed, recording_reporter, same_weights, monkeypatch, which):
    whole, saved = checkpoints_module.save_model, []

    def save(model: Any, path: str) -> None:
        saved.append(path)
        if len(saved) == which + 1:
            Path(path).write_bytes(b"half")
            die()
        whole(model, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints_module, "save_model", save)
        recipe = killed(recording_reporter())
    resumed(recipe, uninterrupted, same_weights)


def test_after_the_weights_and_before_the_state(uninterrupted, killed, recording_reporter, same_weights, monkeypatch):
    """A checkpoint's last file is the trainer's state: without it the checkpoint is none."""
    from transformers import TrainerState

    with monkeypatch.context() as patch:
        patch.setattr(TrainerState, "save_to_json", lambda *_: die())
        recipe = killed(recording_reporter())
    resumed(recipe, uninterrupted, same_weights)
