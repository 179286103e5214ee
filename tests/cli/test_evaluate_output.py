"""The report of `speechxfer evaluate`, without the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechxfer.cli._evaluate_output import make_report, prepare_output_dir, print_report, write_report
from speechxfer.cli._evaluate_run import EvaluationRequest, evaluate_models
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.models import DecodingOptions
from speechxfer.report.progress import Reporter


def test_report_files_and_printed_lines(
    whisper: Path, other_whisper: Path, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decoding = DecodingOptions(pad_to_30s=False)
    request = EvaluationRequest(
        str(whisper), str(other_whisper), str(speech), "none", "auto", decoding, "cpu", skip_bad=False
    )
    run = evaluate_models(request, read(speech), Reporter(quiet=True))
    report = make_report(run)
    assert report["provenance"]["options"] == {"language": None, "beams": 1, "padded_to_30s": False}
    assert report["provenance"]["baseline_options"] == {"language": None, "beams": 1, "padded_to_30s": True}
    assert report["comparison"]["difference"] == pytest.approx(report["after"]["wer"] - report["before"]["wer"])
    assert report["normaliser"] == "none" and report["skipped"] == 0

    folder = prepare_output_dir(tmp_path / "deep" / "report", [])
    assert folder is not None
    write_report(run, report, folder)
    assert {path.name for path in folder.iterdir()} == {"before.jsonl", "after.jsonl", "report.html", "report.json"}
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == {
        "schema": "speechxfer.evaluate/1",
        **json.loads(json.dumps(report)),
    }
    rows = [json.loads(line) for line in (folder / "after.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["hypothesis"] for row in rows] == list(run.after.hypotheses)

    assert '"systems":["baseline","model"]' in (folder / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    print_report(run, report, Reporter())
    out = capsys.readouterr().out
    assert f"baseline  {other_whisper}, padded to 30 s, greedy: WER {100 * report['before']['wer']:.1f} %" in out
    assert f"model     {whisper}, unpadded, greedy: WER {100 * report['after']['wer']:.1f} %" in out


def test_the_output_is_a_folder_that_is_not_a_run(tmp_path: Path) -> None:
    assert prepare_output_dir(None, []) is None
    (tmp_path / "file").write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.yaml").write_text("")
    with pytest.raises(UserError, match="is a file"):
        prepare_output_dir(tmp_path / "file", [])
    with pytest.raises(UserError, match="is a run folder"):
        prepare_output_dir(tmp_path / "run", [])


def test_inputs_and_files_of_others_are_never_overwritten(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("after.jsonl", "report.html"):
        (folder / name).write_text("mine")
    with pytest.raises(UserError, match=r"would overwrite an input: .*after\.jsonl"):
        prepare_output_dir(folder, [folder / "after.jsonl"])
    with pytest.raises(UserError, match=r"holds report\.html, which is not of an evaluation"):
        prepare_output_dir(folder, [])
    (folder / "report.json").write_text('{\n  "schema": "speechxfer.evaluate/1",\n')
    assert prepare_output_dir(folder, [tmp_path / "none.csv"]) == folder
    assert [path.read_text() for path in sorted(folder.glob("*.*l*"))][:1] == ["mine"]


def test_a_folder_that_cannot_be_made_names_the_option(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written.*\n.*--output"):
        prepare_output_dir(tmp_path / "file" / "out", [])
