"""Setup of a run: the zero-shot model as its authors run it, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from speechxfer.adaptation.evaluate import evaluate
from speechxfer.adaptation.run import adapt
from speechxfer.cli import build_app
from speechxfer.data import audio
from speechxfer.data.reader import read
from speechxfer.models import load
from speechxfer.models.transcribe import transcribe


def lines_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scored(path: Path, normaliser: str) -> dict:
    words = ["score", str(path), "--normalise", normaliser, "--json", "-", "-q"]
    return json.loads(CliRunner().invoke(build_app(), words).stdout)["result"]


def test_the_untouched_model_was_scored_as_its_authors_run_it(improved_run, tiny_whisper):
    rows = [
        row
        for row in read(improved_run.report.to_json()["provenance"]["recipe"]["data"]["train"])
        if row["split"] == "test"
    ]
    untouched = load(tiny_whisper, device="cpu")
    assert untouched.settings.pad_to_30s
    texts = [untouched.predict([audio.load_waveform(row)])[0] for row in rows]
    assert texts == [line["hypothesis"] for line in lines_of(improved_run.run_dir.path / "before.jsonl")]


def test_the_untouched_model_comes_first_and_what_trains_is_said(rejected_run):
    _, narrator = rejected_run
    order = [
        next(i for i, line in enumerate(narrator.lines) if words in line)
        for words in ("zero-shot ", "parameters are trained", "epoch 1, loss")
    ]
    assert order == sorted(order)
    line = narrator.lines[order[1]]
    assert line.startswith("stage 0 (all): ") and "head" in line and "are frozen (feature extractor" in line


def test_a_classifier_reports_its_accuracy(tiny_recipe, quiet, tmp_path):
    overrides = ("head.kind=classify", "stages.0.epochs=12", "stages.0.lr=1e-2", "augment={}")
    run = adapt(tiny_recipe(*overrides), reporter=quiet)
    report = run.report.to_json()
    assert report["metric"] == "accuracy" and run.before is None and report["before"] is None
    assert not (tmp_path / "run" / "before.jsonl").exists()
    found = lines_of(tmp_path / "run" / "after.jsonl")
    wrong = sum(line["reference"] != line["hypothesis"] for line in found)
    assert report["after"]["accuracy"] == 1 - wrong / 6 and report["after"]["wer"] == wrong / 6
    assert scored(tmp_path / "run" / "after.jsonl", "default") == report["after"]
    rows = read(report["provenance"]["recipe"]["data"]["train"]).filter(lambda row: row["split"] == "test")
    assert evaluate(tmp_path / "run", rows, device="cpu").score.to_json() == report["after"]
    assert {line["hypothesis"] for line in found} <= {"one", "two", "six"}
    assert {"text", "reference"} <= set(found[0])


def test_tables_of_two_languages(make_whisper, corpus_table, tiny_recipe, quiet, tmp_path):
    """Each is trained and scored in its language, the zero-shot model's dev rows too."""
    rows = corpus_table.read_text(encoding="utf-8").splitlines()
    for name, wanted in (("de", ("s0", "s3", "s4")), ("zh", ("s1", "s2", "s5"))):
        kept = [rows[0], *(row for row in rows[1:] if row.split(",")[3] in wanted)]
        moved = [
            ",".join([one, f"{corpus_table.parent}/{audio}", *rest])
            for one, audio, *rest in (row.split(",") for row in kept[1:])
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join([rows[0], *moved]) + "\n", encoding="utf-8")
    tables = [{"path": str(tmp_path / f"{name}.csv"), "language": name} for name in ("de", "zh")]
    recipe = tiny_recipe(
        f"encoder.name={make_whisper(seconds=2, multilingual=True)}", "encoder.language=en", "stages.0.epochs=1",
        f"data.train={json.dumps(tables)}", "scoring.by=[text_language]",
    )  # fmt: skip
    run = adapt(recipe, reporter=quiet)
    found = run.report.to_json()
    groups = found["before"]["by"]["text_language"]
    assert {name: group["utterances"] for name, group in groups.items()} == {"de": 3, "zh": 3}
    untouched = load(make_whisper(seconds=2, multilingual=True), device="cpu", language="zh")
    chinese = [row for row in lines_of(run.run_dir.path / "before.jsonl") if row["speaker"] == "s5"]
    expected = [t.text for t in transcribe(untouched, [tmp_path / "zh.csv"]) if t.id in {row["id"] for row in chinese}]
    assert [row["hypothesis"] for row in chinese] == expected
