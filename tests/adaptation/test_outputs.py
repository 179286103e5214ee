"""The files that a run writes: report.json and the predictions, against the table and the scorer."""

from __future__ import annotations

import json
from pathlib import Path

import jiwer
import pytest
from typer.testing import CliRunner

from speechxfer.adaptation.run import adapt
from speechxfer.cli import build_app
from speechxfer.data import audio
from speechxfer.data.reader import read

SCORE = {"wer", "cer", "substitutions", "deletions", "insertions", "hits", "reference_words", "utterances", "interval"}


def lines_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scored(path: Path, normaliser: str) -> dict:
    words = ["score", str(path), "--normalise", normaliser, "--json", "-", "-q"]
    return json.loads(CliRunner().invoke(build_app(), words).stdout)["result"]


def test_the_report_has_the_contracts_keys(improved_run):
    report = json.loads((improved_run.run_dir.path / "report.json").read_text())
    assert report == improved_run.report.to_json()
    for side in ("before", "after"):
        assert set(report[side]) >= {*SCORE, "by"}
        assert set(report[side]["by"]) == {"accent", "speaker"}
        for values in report[side]["by"].values():
            assert all(set(score) >= SCORE for score in values.values())
        assert report[side]["utterances"] == 6 and report[side]["reference_words"] == 6
    assert report["normaliser"] == "default" and report["metric"] == "WER"
    assert set(report["speed"]) >= {"audio_seconds", "wall_seconds", "peak_memory_mb", "device"}
    rows = read(improved_run.report.to_json()["provenance"]["recipe"]["data"]["train"])
    test = rows.filter(lambda row: row["split"] == "test")
    assert report["speed"]["audio_seconds"] == pytest.approx(sum(audio.measure_duration(row) for row in test), abs=0.01)
    assert set(report["provenance"]) >= {"versions", "checkpoint", "data", "recipe", "seed", "python"}
    assert {part: stated["utterances"] for part, stated in report["splits"].items()} == {
        "train": 9,
        "dev": 3,
        "test": 6,
    }


@pytest.mark.parametrize("side", ["before", "after"])
def test_scoring_the_answers_gives_the_reports_counts(improved_run, side):
    report = improved_run.report.to_json()
    path = improved_run.run_dir.path / f"{side}.jsonl"
    again = scored(path, report["normaliser"])
    counts = ("wer", "cer", "substitutions", "deletions", "insertions", "hits", "reference_words", "utterances")
    assert {key: again[key] for key in counts} == {key: report[side][key] for key in counts}
    assert again["interval"] == report[side]["interval"]
    if side == "after":  # by another implementation; the taught model's words are as the normaliser writes them
        lines = lines_of(path)
        truth = jiwer.wer([line["reference"] for line in lines], [line["hypothesis"].lower() for line in lines])
        assert report[side]["wer"] == pytest.approx(truth)


def test_every_line_of_the_answers(improved_run):
    rows = {row["id"]: row for row in read(improved_run.report.to_json()["provenance"]["recipe"]["data"]["train"])}
    for side in ("before", "after"):
        found = lines_of(improved_run.run_dir.path / f"{side}.jsonl")
        assert [line["id"] for line in found] == [name for name, row in rows.items() if row["split"] == "test"]
        for line in found:
            row = rows[line["id"]]
            assert list(line)[:4] == ["id", "audio", "hypothesis", "reference"]
            assert (line["audio"], line["reference"]) == (row["audio"], row["text"])
            assert {key: line[key] for key in ("speaker", "accent", "label", "split")} == {
                key: row[key] for key in ("speaker", "accent", "label", "split")
            }
            assert set(line) == {"id", "audio", "hypothesis", "reference", "speaker", "accent", "label", "split"}


def test_the_files_of_a_run_that_made_the_model_worse(
    tiny_recipe, tiny_whisper, set_dev_errors, same_weights, quiet, tmp_path
):
    """The pretrained model stays the result; the rates are those of jiwer, here by the chosen metric."""
    set_dev_errors(0.5, 0.75)
    recipe = tiny_recipe("stages.0.epochs=1", "scoring.metric=cer", "scoring.normaliser=none")
    adapt(recipe, name="worse", reporter=quiet)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    before, after = (lines_of(tmp_path / "run" / f"{side}.jsonl") for side in ("before", "after"))
    assert before == after and len(after) == 6
    references, texts = ([line[key] for line in after] for key in ("reference", "hypothesis"))
    rate = pytest.approx(jiwer.cer(references, texts))
    assert report["metric"] == "CER" and report["test_metric"] == {"before": rate, "after": rate}
    assert report["after"]["wer"] == pytest.approx(jiwer.wer(references, texts))
    assert report["normaliser"] == "none" and report["after"] == report["before"] != report["rejected"]
    assert report["selected"] == report["candidates"][0]["name"]
    assert [candidate["dev"] for candidate in report["candidates"]] == [0.5, 0.75]
    assert f"no candidate was better than the zero-shot {tiny_whisper}" in report["warnings"][0]
    assert same_weights(tmp_path / "run" / "model", tiny_whisper)
    assert not same_weights(tmp_path / "run" / "checkpoints" / "rejected", tiny_whisper)
    spent = sum(stage["seconds"] for stage in report["stages"])
    assert report["speed"]["training_seconds"] == pytest.approx(spent, abs=0.051)
    assert report["speed"]["total_seconds"] >= report["speed"]["training_seconds"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "worse" in page and all(line["id"] in page for line in after)
