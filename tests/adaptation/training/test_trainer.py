"""Out of memory on a GPU: smaller batches, as many seconds a step, and an end that is well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from speechxfer.adaptation.cache import feature_cache
from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.training import trainer
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.errors import UserError
from speechxfer.models.base import SpeechModel


@pytest.fixture
def memory(monkeypatch):
    """memory(fails): the forwards, counted from 1, that run out of it; what it returns is each batch's size."""

    def make(fails) -> list[int]:
        sizes: list[int] = []
        whole = StagedModule.forward

        def forward(self, **inputs):
            sizes.append(len(inputs["lengths"]))
            if fails(len(sizes)):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
            return whole(self, **inputs)

        monkeypatch.setattr(StagedModule, "forward", forward)
        return sizes

    return make


def test_the_batch_is_halved_and_said(make_small_recipe, recording_reporter, memory):
    sizes = memory(lambda count: count == 1)
    narrator = recording_reporter()
    run = adapt(make_small_recipe("stages.0.batch_seconds=5"), reporter=narrator)
    assert narrator.logged("out of GPU memory: continuing with 2.5 s of audio per batch, 2 batches per step")
    assert sum(sizes[1:]) == 2 * 9  # two epochs of nine utterances
    assert len(sizes[1:]) >= 2 * 3  # of 5.8 s, so three batches at least
    assert len(run.report.to_json()["stages"][0]["epochs"]) == 2


def test_the_stage_starts_anew_from_its_start(make_small_recipe, recording_reporter, memory, same_weights, tmp_path):
    """As if the smaller batches had been asked for: what the failed attempt had learnt, and saved, is gone."""
    sizes = memory(lambda count: count == 3)  # in the second epoch, after a checkpoint
    narrator = recording_reporter()
    halved = adapt(make_small_recipe("stages.0.batch_seconds=5"), reporter=narrator)
    assert narrator.logged("epoch 1, ") and narrator.logged("out of GPU memory") and sum(sizes[:2]) == 9
    asked = make_small_recipe(
        "stages.0.batch_seconds=2.5", "stages.0.gradient_accumulation=2", f"output={tmp_path / 'asked'}"
    )
    truth = adapt(asked, reporter=recording_reporter())
    found = [
        sorted(path.name for path in (run.run_dir.checkpoints / "stage-0").glob("checkpoint-*"))
        for run in (halved, truth)
    ]
    assert found[0] == found[1]
    for name in found[0]:
        assert same_weights(halved.run_dir.checkpoints / "stage-0" / name, truth.run_dir.checkpoints / "stage-0" / name)


def test_a_resumed_run_keeps_the_smaller_batches(
    make_small_recipe, recording_reporter, raise_interrupt, memory, same_weights, tmp_path
):
    sizes = memory(lambda count: count == 1)
    recipe = make_small_recipe("stages.0.batch_seconds=5")
    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, reporter=recording_reporter({("stage 0 (all)", 1): raise_interrupt}))
    stored = json.loads((Path(str(recipe.output)) / "checkpoints/stage-0/batches.json").read_text())
    assert stored == {"batch_seconds": 2.5, "gradient_accumulation": 2}
    before = len(sizes)
    resumed = adapt(recipe, resume=True, reporter=recording_reporter())
    assert len(sizes) - before >= 3 + 1  # the rest of the first epoch, and the second
    asked = make_small_recipe(
        "stages.0.batch_seconds=2.5", "stages.0.gradient_accumulation=2", f"output={tmp_path / 'asked'}"
    )
    name = resumed.report.to_json()["stages"][0]["best"]
    truth = adapt(asked, reporter=recording_reporter())
    assert truth.report.to_json()["stages"][0]["best"] == name
    assert same_weights(resumed.run_dir.checkpoints / "stage-0" / name, truth.run_dir.checkpoints / "stage-0" / name)


def test_memory_that_never_suffices_is_one_message(make_small_recipe, quiet, memory):
    sizes = memory(lambda _: True)
    with pytest.raises(UserError, match="out of GPU memory with the smallest batch") as caught:
        adapt(make_small_recipe("stages.0.batch_seconds=9"), reporter=quiet)
    assert "Tried to allocate 2.00 GiB" in str(caught.value)
    assert len(sizes) == 3  # 9, 4.5 and 2.25 s


def test_the_dev_part_is_heard_in_halves_and_the_batches_stay(make_small_recipe, recording_reporter, monkeypatch):
    """What measuring takes is no matter of the stage's batches."""
    real = SpeechModel.predict

    def cramped(model, waveforms):
        if len(waveforms) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
        return real(model, waveforms)

    truth = adapt(make_small_recipe(), reporter=recording_reporter())
    monkeypatch.setattr(SpeechModel, "predict", cramped)
    narrator = recording_reporter()
    run = adapt(make_small_recipe("overwrite=true"), reporter=narrator)
    assert not narrator.logged("continuing with")
    assert [c["dev"] for c in run.report.to_json()["candidates"]] == [
        c["dev"] for c in truth.report.to_json()["candidates"]
    ]


def test_an_utterance_for_which_there_is_no_memory_is_one_message(make_small_recipe, quiet, monkeypatch):
    def never(model, waveforms):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(SpeechModel, "predict", never)
    with pytest.raises(UserError, match=r"out of GPU memory with one utterance of 0\.\d s") as caught:
        adapt(make_small_recipe(), reporter=quiet)
    assert "device cpu" in str(caught.value)


def test_frozen_frames_for_which_there_is_no_memory(make_small_recipe, quiet, monkeypatch, tmp_path):
    monkeypatch.setenv("SPEECHXFER_FRAMES", str(tmp_path / "frames"))  # another test may have kept the same
    recipe, lower = make_small_recipe("stages.0.train=head", "cache={use: always}"), feature_cache.encode_to_split

    def cramped(model, inputs, split):
        if len(inputs.lengths) > 1:  # one is the probe of their size
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return lower(model, inputs, split)

    monkeypatch.setattr(feature_cache, "encode_to_split", cramped)
    with pytest.raises(UserError, match="out of GPU memory") as caught:
        adapt(recipe, reporter=quiet)
    assert "decoding.batch_seconds" in str(caught.value)


def test_another_error_is_not_taken_for_it(make_small_recipe, quiet, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(StagedModule, "forward", fail)
    with pytest.raises(ZeroDivisionError):
        adapt(make_small_recipe(), reporter=quiet)


def test_without_tensorboard_no_curves_are_written(monkeypatch, tmp_path):
    assert len(trainer._make_tensorboard(tmp_path / "logs")) == 1 and (tmp_path / "logs").is_dir()
    monkeypatch.setattr(trainer, "find_spec", lambda name: None)
    assert trainer._make_tensorboard(tmp_path / "none") == [] and not (tmp_path / "none").exists()
