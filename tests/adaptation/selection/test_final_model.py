"""The selected model: the adapted one if it is better on dev, else the pretrained one; forgetting is measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from speechxfer.adaptation.predictions import make_forgetting_warnings
from speechxfer.adaptation.run import adapt
from speechxfer.models import load


def test_the_better_model_is_kept(improved_run, tiny_whisper, same_weights):
    candidates = {candidate["name"]: candidate["dev"] for candidate in improved_run.report.to_json()["candidates"]}
    assert improved_run.report.to_json()["selected"] == "stage 0" == min(candidates, key=candidates.__getitem__)
    stage = improved_run.report.to_json()["stages"][0]
    devs = [epoch["dev"] for epoch in stage["epochs"]]
    assert candidates["stage 0"] == stage["dev"] == min(devs) < candidates["zero-shot"]
    assert not same_weights(improved_run.run_dir.path / "model", tiny_whisper)
    # the best epoch's weights, the first of equals, and not the last one's
    best = devs.index(min(devs)) + 1
    place = improved_run.run_dir.path / "checkpoints" / "stage-0"
    assert stage["best"].partition("-")[2] == str(best * (int(_last(place).name.partition("-")[2]) // len(devs)))
    assert same_weights(improved_run.run_dir.path / "model", place / stage["best"])
    assert improved_run.report.rejected is None


def _last(place: Path) -> Path:
    return max(place.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))


def test_never_worse(rejected_run, tiny_whisper, same_weights):
    run, _ = rejected_run
    assert run.report.to_json()["selected"] == "zero-shot"
    assert same_weights(run.run_dir.path / "model", tiny_whisper)
    before, after = ((run.run_dir.path / f"{side}.jsonl").read_text() for side in ("before", "after"))
    assert before == after and run.report.to_json()["before"] == run.report.to_json()["after"]
    assert run.report.to_json()["warnings"][0].startswith("no candidate was better than the zero-shot")
    page = (run.run_dir.path / "report.html").read_text(encoding="utf-8")
    assert "no candidate was better than the zero-shot" in page
    assert (
        run.report.to_json()["rejected"]["utterances"] == 6
        and run.report.to_json()["rejected"] != run.report.to_json()["after"]
    )
    rejected = load(run.run_dir.path / "checkpoints" / "rejected", device="cpu")
    assert not rejected.network.proj_out.weight.detach().equal(load(tiny_whisper, device="cpu").network.proj_out.weight)
    kept, untouched = load(run.run_dir.path, device="cpu"), load(tiny_whisper, device="cpu")
    assert kept.settings == untouched.settings and kept.prompt == untouched.prompt


def test_what_was_forgotten_is_measured(tiny_recipe, quiet, corpus_table, improving_overrides):
    """The other speech here is the corpus itself, so the adapted model hears it better, and nothing is warned of."""
    run = adapt(tiny_recipe(*improving_overrides, f"data.retention={corpus_table}"), reporter=quiet)
    before, after = (run.report.to_json()["retention"][side] for side in ("before", "after"))
    assert before["utterances"] == after["utterances"] == 18
    assert after["wer"] < before["wer"]
    assert not [warning for warning in run.report.to_json()["warnings"] if "data.retention" in warning]
    (warning,) = make_forgetting_warnings(make_evaluation(0.1), make_evaluation(0.125))
    assert warning.startswith(
        "the error rate on data.retention increased from 10.0% to 12.5%; a share of pretrained weights"
    )
    assert (
        make_forgetting_warnings(make_evaluation(0.1), make_evaluation(0.1))
        == make_forgetting_warnings(None, make_evaluation(0.1))
        == []
    )


def make_evaluation(wer: float) -> Any:
    """An evaluation of which only the error rate is asked."""
    return SimpleNamespace(score=SimpleNamespace(wer=wer))
