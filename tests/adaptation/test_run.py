"""A whole run against the contract: its folder, its report, its answers; the better model is kept, and said so."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jiwer
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from speechxfer.adaptation.predictions import make_forgetting_warnings
from speechxfer.adaptation.run import adapt
from speechxfer.cli import build_app
from speechxfer.config import load_recipe
from speechxfer.data import audio
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.models import load
from speechxfer.report.progress import Reporter

FILES = {"recipe.yaml", "model", "report.json", "report.html", "before.jsonl", "after.jsonl", "checkpoints", "logs"}
SCORE = {"wer", "cer", "substitutions", "deletions", "insertions", "hits", "reference_words", "utterances", "interval"}


def lines_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scored(path: Path, normaliser: str) -> dict:
    words = ["score", str(path), "--normalise", normaliser, "--json", "-", "-q"]
    return json.loads(CliRunner().invoke(build_app(), words).stdout)["result"]


def test_the_run_folder_is_what_the_contract_says(won):
    assert {path.name for path in won.run_dir.path.iterdir()} == FILES
    recipe = yaml.safe_load((won.run_dir.path / "recipe.yaml").read_text())
    assert load_recipe(recipe).model_dump() == load_recipe(won.run_dir.path / "recipe.yaml").model_dump()
    assert recipe["augment"]["freq_width"] == 0.1  # every default filled in
    assert not list((won.run_dir.path / "model").glob("*.bin")) and not list(won.run_dir.path.rglob("*.part"))


def test_the_report_has_the_contracts_keys(won):
    report = json.loads((won.run_dir.path / "report.json").read_text())
    assert report == won.report.to_json()
    for side in ("before", "after"):
        assert set(report[side]) >= {*SCORE, "by"}
        assert set(report[side]["by"]) == {"accent", "speaker"}
        for values in report[side]["by"].values():
            assert all(set(score) >= SCORE for score in values.values())
        assert report[side]["utterances"] == 6 and report[side]["reference_words"] == 6
    assert report["normaliser"] == "default" and report["metric"] == "WER"
    assert set(report["speed"]) >= {"audio_seconds", "wall_seconds", "peak_memory_mb", "device"}
    rows = read(won.report.to_json()["provenance"]["recipe"]["data"]["train"])
    test = rows.filter(lambda row: row["split"] == "test")
    assert report["speed"]["audio_seconds"] == pytest.approx(sum(audio.measure_duration(row) for row in test), abs=0.01)
    assert set(report["provenance"]) >= {"versions", "checkpoint", "data", "recipe", "seed", "python"}
    assert {part: stated["utterances"] for part, stated in report["splits"].items()} == {
        "train": 9,
        "dev": 3,
        "test": 6,
    }


@pytest.mark.parametrize("side", ["before", "after"])
def test_scoring_the_answers_gives_the_reports_counts(won, side):
    report = won.report.to_json()
    path = won.run_dir.path / f"{side}.jsonl"
    again = scored(path, report["normaliser"])
    counts = ("wer", "cer", "substitutions", "deletions", "insertions", "hits", "reference_words", "utterances")
    assert {key: again[key] for key in counts} == {key: report[side][key] for key in counts}
    assert again["interval"] == report[side]["interval"]
    if side == "after":  # by another implementation; the taught model's words are as the normaliser writes them
        lines = lines_of(path)
        truth = jiwer.wer([line["reference"] for line in lines], [line["hypothesis"].lower() for line in lines])
        assert report[side]["wer"] == pytest.approx(truth)


def test_every_line_of_the_answers(won):
    rows = {row["id"]: row for row in read(won.report.to_json()["provenance"]["recipe"]["data"]["train"])}
    for side in ("before", "after"):
        found = lines_of(won.run_dir.path / f"{side}.jsonl")
        assert [line["id"] for line in found] == [name for name, row in rows.items() if row["split"] == "test"]
        for line in found:
            row = rows[line["id"]]
            assert list(line)[:4] == ["id", "audio", "hypothesis", "reference"]
            assert (line["audio"], line["reference"]) == (row["audio"], row["text"])
            assert {key: line[key] for key in ("speaker", "accent", "label", "split")} == {
                key: row[key] for key in ("speaker", "accent", "label", "split")
            }
            assert set(line) == {"id", "audio", "hypothesis", "reference", "speaker", "accent", "label", "split"}


def test_the_saved_model_gives_the_answers_of_the_report(won):
    rows = [
        row for row in read(won.report.to_json()["provenance"]["recipe"]["data"]["train"]) if row["split"] == "test"
    ]
    model = load(won.run_dir.path, device="cpu")
    said = [model.predict([audio.load_waveform(row)])[0] for row in rows]
    assert said == [line["hypothesis"] for line in lines_of(won.run_dir.path / "after.jsonl")]
    with model.use_padding():
        padded = [model.predict([audio.load_waveform(row)])[0] for row in rows]
    truth = jiwer.process_words([row["text"] for row in rows], [text.lower() or " " for text in padded])
    assert won.report.to_json()["after_padded_to_30s"]["wer"] == pytest.approx(truth.wer)


def test_the_untouched_model_was_scored_as_its_authors_run_it(won, tiny_whisper):
    rows = [
        row for row in read(won.report.to_json()["provenance"]["recipe"]["data"]["train"]) if row["split"] == "test"
    ]
    untouched = load(tiny_whisper, device="cpu")
    assert untouched.settings.pad_to_30s
    said = [untouched.predict([audio.load_waveform(row)])[0] for row in rows]
    assert said == [line["hypothesis"] for line in lines_of(won.run_dir.path / "before.jsonl")]


def test_the_better_model_is_kept(won, tiny_whisper, same_weights):
    candidates = {candidate["name"]: candidate["dev"] for candidate in won.report.to_json()["candidates"]}
    assert won.report.to_json()["selected"] == "stage 0" == min(candidates, key=candidates.__getitem__)
    stage = won.report.to_json()["stages"][0]
    devs = [epoch["dev"] for epoch in stage["epochs"]]
    assert candidates["stage 0"] == stage["dev"] == min(devs) < candidates["zero-shot"]
    assert not same_weights(won.run_dir.path / "model", tiny_whisper)
    # the best epoch's weights, the first of equals, and not the last one's
    best = devs.index(min(devs)) + 1
    place = won.run_dir.path / "checkpoints" / "stage-0"
    assert stage["best"].partition("-")[2] == str(best * (int(_last(place).name.partition("-")[2]) // len(devs)))
    assert same_weights(won.run_dir.path / "model", place / stage["best"])
    assert won.report.rejected is None


def _last(place: Path) -> Path:
    return max(place.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))


def test_curves_are_written(won):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(won.run_dir.path / "logs" / "stage-0"))
    events.Reload()
    measured = [event.value for event in events.Scalars("eval/error")]
    assert measured == pytest.approx([epoch["dev"] for epoch in won.report.to_json()["stages"][0]["epochs"]], abs=1e-6)
    assert len(events.Scalars("train/loss")) > 1


def test_never_worse(lost, tiny_whisper, same_weights):
    run, _ = lost
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


def test_the_untouched_model_comes_first_and_what_trains_is_said(lost):
    _, narrator = lost
    order = [
        next(i for i, line in enumerate(narrator.said) if words in line)
        for words in ("zero-shot ", "parameters are trained", "epoch 1, loss")
    ]
    assert order == sorted(order)
    line = narrator.said[order[1]]
    assert line.startswith("stage 0 (all): ") and "head" in line and "are frozen (feature extractor" in line


def test_a_finished_run_is_not_trained_again(won, recipe_values, learns, watcher):
    files = {path: path.stat().st_mtime_ns for path in won.run_dir.path.rglob("*") if path.is_file()}
    overrides = [*learns, f"output={won.run_dir.path}", "scoring.by=[accent, speaker]"]
    with pytest.raises(UserError, match="a finished run already exists") as caught:
        adapt(load_recipe(recipe_values, overrides))
    assert "--resume" in str(caught.value) and "overwrite=true" in str(caught.value)
    narrator = watcher()
    again = adapt(load_recipe(recipe_values, overrides), resume=True, reporter=narrator)
    assert narrator.heard("nothing to do")
    assert again.report == won.report
    assert again.before is not None and again.before.to_json() == won.report.to_json()["before"]
    assert again.after.to_json() == won.report.to_json()["after"]
    with pytest.raises(UserError, match="started with different values of seed"):
        adapt(load_recipe(recipe_values, [*overrides, "seed=9"]), resume=True)
    assert files == {path: path.stat().st_mtime_ns for path in won.run_dir.path.rglob("*") if path.is_file()}


def test_progress_on_a_terminal(small, tmp_path):
    """Bars within bars: a stage's, and its dev part's."""
    narrator, screen = Reporter(), io.StringIO()
    narrator.console = Console(file=screen, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    adapt(small("stages.0.epochs=1"), reporter=narrator)
    assert "stage 0 (all), dev" in screen.getvalue() and "checking train" in screen.getvalue()


def test_overwrite_replaces_a_run_and_nothing_else(tiny_recipe, quiet, tmp_path):
    first = adapt(tiny_recipe("stages.0.epochs=1"), reporter=quiet)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "checkpoints" / "old").mkdir()
    second = adapt(tiny_recipe("stages.0.epochs=1", "seed=5", "overwrite=true"), reporter=quiet)
    assert (first.report.to_json()["provenance"]["seed"], second.report.to_json()["provenance"]["seed"]) == (0, 5)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "run" / "checkpoints" / "old").exists()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("overwrite", ["false", "true"])
def test_another_things_folder_is_refused(tiny_recipe, tmp_path, overwrite, resume):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.json").write_text("{}")  # `evaluate --output` leaves one too
    with pytest.raises(UserError, match=r"files that are not a run's \(report\.json\)"):
        adapt(tiny_recipe(f"overwrite={overwrite}"), resume=resume)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["report.json"]


def test_a_file_in_the_folders_place(tiny_recipe, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match="output is a file"):
        adapt(tiny_recipe())


def test_the_default_folder_is_named_after_the_recipe(tiny_recipe, quiet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adapt(tiny_recipe("output=null", "stages.0.epochs=1"), name="mine", reporter=quiet)
    assert (tmp_path / "runs" / "mine" / "report.json").is_file()


def test_a_classifier_reports_an_error_rate(tiny_recipe, quiet, tmp_path):
    overrides = ("head.kind=classify", "stages.0.epochs=12", "stages.0.lr=1e-2", "augment={}")
    run = adapt(tiny_recipe(*overrides), reporter=quiet)
    assert (
        run.report.to_json()["metric"] == "error rate" and run.before is None and run.report.to_json()["before"] is None
    )
    assert not (tmp_path / "run" / "before.jsonl").exists()
    found = lines_of(tmp_path / "run" / "after.jsonl")
    wrong = sum(line["reference"] != line["hypothesis"] for line in found)
    assert run.report.to_json()["after"]["wer"] == wrong / 6
    assert scored(tmp_path / "run" / "after.jsonl", "default")["wer"] == wrong / 6
    assert {line["hypothesis"] for line in found} <= {"one", "two", "six"}
    assert {"text", "reference"} <= set(found[0])


def test_a_tables_own_hypothesis_is_not_ours(recipe_values, quiet, corpus_table, tmp_path):
    header, *rows = corpus_table.read_text().splitlines()
    table = corpus_table.parent / "said-before.csv"
    lines = [f"{header},hypothesis,reference", *(f"{row},old {number},other" for number, row in enumerate(rows))]
    table.write_text("\n".join(lines))
    overrides = [f"data.train={table}", f"output={tmp_path / 'run'}", "stages.0.epochs=1"]
    run = adapt(load_recipe(recipe_values, overrides), reporter=quiet)
    found = lines_of(tmp_path / "run" / "after.jsonl")
    assert not any("old" in line["hypothesis"] or line["reference"] == "other" for line in found)
    assert scored(tmp_path / "run" / "after.jsonl", "default")["wer"] == run.report.to_json()["after"]["wer"]


def test_what_was_forgotten_is_measured(tiny_recipe, quiet, corpus_table, learns):
    """The other speech here is the corpus itself, so the adapted model hears it better, and nothing is warned of."""
    run = adapt(tiny_recipe(*learns, f"data.retention={corpus_table}"), reporter=quiet)
    before, after = (run.report.to_json()["retention"][side] for side in ("before", "after"))
    assert before["utterances"] == after["utterances"] == 18
    assert after["wer"] < before["wer"]
    assert not [warning for warning in run.report.to_json()["warnings"] if "data.retention" in warning]
    (warning,) = make_forgetting_warnings(heard(0.1), heard(0.125))
    assert warning.startswith(
        "the error rate on data.retention increased from 10.0% to 12.5%; a share of pretrained weights"
    )
    assert make_forgetting_warnings(heard(0.1), heard(0.1)) == make_forgetting_warnings(None, heard(0.1)) == []


def heard(wer: float) -> Any:
    """An evaluation of which only the error rate is asked."""
    return SimpleNamespace(score=SimpleNamespace(wer=wer))
