"""Stages in turn, the best of each, patience; one seed is one result."""

from __future__ import annotations

import json

import pytest
import torch

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.training import stages as stages_module

TWO = "[{train: head, epochs: 3, lr: 1e-3, batch_seconds: 2}, {train: [head, top-1], epochs: 2, lr: 1e-3}]"


def checkpoints(run, number):
    return run.run_dir.checkpoints / f"stage-{number}"


def test_each_stage_starts_from_the_lasts_best_epoch(tiny_recipe, quiet, set_dev_errors, weights_of, monkeypatch):
    set_dev_errors(0.9, 0.5, 0.3, 0.4, 0.35, 0.2)
    starts = []
    whole = stages_module.train_stage

    def note(context, *args, **kwargs):
        starts.append({name: tensor.clone() for name, tensor in context.model.network.state_dict().items()})
        return whole(context, *args, **kwargs)

    monkeypatch.setattr(stages_module, "train_stage", note)
    run = adapt(tiny_recipe(f"stages={TWO}"), reporter=quiet)
    first, second = run.report.to_json()["stages"]
    assert [epoch["dev"] for epoch in first["epochs"]] == [0.5, 0.3, 0.4]
    assert [epoch["epoch"] for epoch in first["epochs"]] == [1, 2, 3]
    best = weights_of(checkpoints(run, 0) / first["best"])
    assert all(starts[1][name].equal(tensor) for name, tensor in best.items())
    assert not all(starts[0][name].equal(tensor) for name, tensor in best.items())
    assert run.report.to_json()["selected"] == "stage 1" and second["dev"] == 0.2


@pytest.mark.parametrize(
    ("errors", "stage", "epoch"),
    [
        ((0.9, 0.5, 0.2, 0.4, 0.35, 0.3), 0, 2),  # an earlier stage's best
        ((0.9, 0.5, 0.3, 0.4, 0.3, 0.3), 1, 1),  # the later of equal stages, the first of its equal epochs
        ((0.3, 0.5, 0.3, 0.4, 0.35, 0.3), None, None),  # as good as the untouched model is not better
    ],
)
def test_the_best_of_all_is_kept(tiny_recipe, quiet, set_dev_errors, same_weights, tiny_whisper, errors, stage, epoch):
    set_dev_errors(*errors)
    run = adapt(tiny_recipe(f"stages={TWO}"), reporter=quiet)
    if stage is None:
        assert run.report.to_json()["selected"] == "zero-shot"
        assert same_weights(run.run_dir.model, tiny_whisper)
    else:
        assert run.report.to_json()["selected"] == f"stage {stage}"
        entry = run.report.to_json()["stages"][stage]
        step = int(entry["best"].partition("-")[2])
        last = max(int(path.name.partition("-")[2]) for path in checkpoints(run, stage).glob("checkpoint-*"))
        assert step == last * epoch // len(entry["epochs"])
        assert same_weights(run.run_dir.model, checkpoints(run, stage) / entry["best"])


@pytest.mark.parametrize(("errors", "epochs"), [((0.5, 0.5, 0.5), 3), ((0.5, 0.4, 0.6, 0.4), 4), ((0.5,) * 9, 3)])
def test_patience_ends_a_stage(tiny_recipe, quiet, set_dev_errors, errors, epochs):
    set_dev_errors(0.9, *errors, *(0.1,) * 9)
    run = adapt(tiny_recipe("stages.0.epochs=6", "stages.0.patience=2", "stages.0.batch_seconds=9"), reporter=quiet)
    assert len(run.report.to_json()["stages"][0]["epochs"]) == epochs


def test_half_an_epoch(tiny_recipe, quiet):
    run = adapt(tiny_recipe("stages.0.epochs=1.5"), reporter=quiet)
    assert [epoch["epoch"] for epoch in run.report.to_json()["stages"][0]["epochs"]] == [1.0, 1.5]


def test_an_earlier_run_is_adapted_again(improved_run, tiny_recipe, quiet, same_weights):
    """Its untouched model is the run's own: run as it was saved, not padded."""
    run = adapt(
        tiny_recipe(f"encoder.name={improved_run.run_dir.path}", "stages.0.lr=10", "stages.0.epochs=1"), reporter=quiet
    )
    assert run.before is not None and run.before.to_json()["wer"] == improved_run.report.to_json()["after"]["wer"]
    assert run.report.to_json()["selected"] == "zero-shot" and same_weights(
        run.run_dir.model, improved_run.run_dir.model
    )
    settings = [json.loads((r.run_dir.model / "speechxfer.json").read_text()) for r in (improved_run, run)]
    assert settings[0] == settings[1]


@pytest.mark.parametrize(
    "overrides",
    [
        ["stages.0.epochs=1"],
        ["head={kind: classify, pooling: attentive, dropout: 0.2}", "stages.0.train=[head, top-1]"],
    ],
    ids=["seq2seq", "attentive"],
)
def test_one_seed_one_result(tiny_recipe, quiet, same_weights, tmp_path, overrides):
    runs = []
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        torch.manual_seed(len(runs))  # what went on before does not matter
        run = adapt(tiny_recipe(*overrides, f"seed={seed}", f"output={tmp_path / name}"), reporter=quiet)
        runs.append(checkpoints(run, 0) / "checkpoint-2")
        if not runs[-1].exists():
            runs[-1] = max(checkpoints(run, 0).glob("checkpoint-*"), key=lambda p: int(p.name.partition("-")[2]))
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])
    answers = [(tmp_path / name / "after.jsonl").read_text() for name in ("one", "again")]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("devs, hints", [((1.0, 0.98, 0.99, 1.0), 1), ((1.0, 0.98, 0.9, 0.97), 0)])
def test_a_new_ctc_head_that_is_stuck_is_told_of_while_it_trains_once(
    tiny_recipe, recording_reporter, set_dev_errors, devs, hints
):
    set_dev_errors(0.9, *devs)
    reported = recording_reporter()
    stages = "[{train: [head, encoder], epochs: 4, lr: 1e-3, batch_seconds: 9}]"
    adapt(tiny_recipe("head.kind=ctc", f"stages={stages}"), reporter=reported)
    texts = [line for line in reported.lines if line.startswith("hint: ")]
    assert len(texts) == hints and all("train the head alone first" in line for line in texts)
    if hints:
        assert "epoch 3," in reported.lines[reported.lines.index(texts[0]) - 1]
