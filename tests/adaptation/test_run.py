"""A whole run against the contract: its folder, its report, its answers; the better model is kept, and said so."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jiwer
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

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


def test_the_run_folder_is_what_the_contract_says(improved_run):
    assert {path.name for path in improved_run.run_dir.path.iterdir()} == FILES
    recipe = yaml.safe_load((improved_run.run_dir.path / "recipe.yaml").read_text())
    assert load_recipe(recipe).model_dump() == load_recipe(improved_run.run_dir.path / "recipe.yaml").model_dump()
    assert recipe["augment"]["freq_width"] == 0.1  # every default filled in
    assert not list((improved_run.run_dir.path / "model").glob("*.bin")) and not list(
        improved_run.run_dir.path.rglob("*.part")
    )


def test_the_saved_model_gives_the_answers_of_the_report(improved_run):
    rows = [
        row
        for row in read(improved_run.report.to_json()["provenance"]["recipe"]["data"]["train"])
        if row["split"] == "test"
    ]
    model = load(improved_run.run_dir.path, device="cpu")
    texts = [model.predict([audio.load_waveform(row)])[0] for row in rows]
    assert texts == [line["hypothesis"] for line in lines_of(improved_run.run_dir.path / "after.jsonl")]
    with model.use_padding():
        padded = [model.predict([audio.load_waveform(row)])[0] for row in rows]
    truth = jiwer.process_words([row["text"] for row in rows], [text.lower() or " " for text in padded])
    assert improved_run.report.to_json()["after_padded_to_30s"]["wer"] == pytest.approx(truth.wer)


def test_curves_are_written(improved_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(improved_run.run_dir.path / "logs" / "stage-0"))
    events.Reload()
    measured = [event.value for event in events.Scalars("eval/error")]
    assert measured == pytest.approx(
        [epoch["dev"] for epoch in improved_run.report.to_json()["stages"][0]["epochs"]], abs=1e-6
    )
    assert len(events.Scalars("train/loss")) > 1


def test_a_finished_run_is_not_trained_again(improved_run, recipe_values, improving_overrides, recording_reporter):
    files = {path: path.stat().st_mtime_ns for path in improved_run.run_dir.path.rglob("*") if path.is_file()}
    overrides = [*improving_overrides, f"output={improved_run.run_dir.path}", "scoring.by=[accent, speaker]"]
    with pytest.raises(UserError, match="a finished run already exists") as caught:
        adapt(load_recipe(recipe_values, overrides))
    assert "--resume" in str(caught.value) and "overwrite=true" in str(caught.value)
    narrator = recording_reporter()
    again = adapt(load_recipe(recipe_values, overrides), resume=True, reporter=narrator)
    assert narrator.logged("nothing to do")
    assert again.report == improved_run.report
    assert again.before is not None and again.before.to_json() == improved_run.report.to_json()["before"]
    assert again.after.to_json() == improved_run.report.to_json()["after"]
    with pytest.raises(UserError, match="started with different values of seed"):
        adapt(load_recipe(recipe_values, [*overrides, "seed=9"]), resume=True)
    assert files == {path: path.stat().st_mtime_ns for path in improved_run.run_dir.path.rglob("*") if path.is_file()}


def test_progress_on_a_terminal(make_small_recipe, tmp_path):
    """Bars within bars: a stage's, and its dev part's."""
    narrator, screen = Reporter(), io.StringIO()
    narrator.console = Console(file=screen, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    adapt(make_small_recipe("stages.0.epochs=1"), reporter=narrator)
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
