"""Outputs of `speechxfer score`, without the command line: the JSON document, the report and the aligned texts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from speechxfer.cli._score_inputs import NamedFile
from speechxfer.cli._score_output import SCHEMA, STANDARD_OUTPUT, write_alignments, write_html, write_json_document
from speechxfer.cli._score_run import ScoreRequest, ScoreRun, score_files
from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions


@pytest.fixture
def run(tmp_path: Path) -> ScoreRun:
    """One error in five words, with audio for the first utterance."""
    (tmp_path / "r.csv").write_text("id,audio,text\nu1,u1.wav#0-1,one two three\nu2,u2.wav,four five\n")
    (tmp_path / "h.csv").write_text("id,text\nu1,one two tree\nu2,four five\n")
    (tmp_path / "u1.wav").write_bytes(b"")
    reading = {"format": None, "missing": "error", "utt2spk": None, "notation": False}
    files = [NamedFile(tmp_path / "r.csv"), NamedFile(tmp_path / "h.csv")]
    request = ScoreRequest(files, reading, "auto", ScoringOptions(), max_error=0.1)
    return score_files(request, with_analysis=True)


def test_the_json_document(run: ScoreRun, tmp_path: Path) -> None:
    write_json_document(run, tmp_path / "out.json", run.request.files)
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert document["schema"] == SCHEMA
    assert document["result"] == document["results"]["h.csv"] and document["result"]["wer"] == pytest.approx(1 / 5)
    assert document["result"]["mer"] == pytest.approx(1 / 5) and document["result"]["wil"] == pytest.approx(1 - 16 / 25)
    assert document["raw_wer"] == {"h.csv": pytest.approx(1 / 5)}
    assert document["utterances"]["h.csv"] == [{"id": "u1", "operations": "==S"}, {"id": "u2", "operations": "=="}]
    assert [entry["sha256"] for entry in document["inputs"]] == [
        hashlib.sha256(file.path.read_bytes()).hexdigest() for file in run.request.files
    ]
    assert document["gates"] == {
        "metric": "auto",
        "fail_above": 0.1,
        "fail_worse_than": None,
        "failures": ["h.csv: WER 20.00 %, the limit is 10.00 %"],
    }
    assert document["options"]["missing"] == "error" and document["options"]["by"] == "auto"


def test_the_html_report_links_existing_audio_only(run: ScoreRun, tmp_path: Path) -> None:
    write_html(run, tmp_path / "r.html", audio_folder=None, embed=0)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "u1.wav#" in page and "u2.wav" not in page
    assert "h.csv against r.csv" in page


def test_the_aligned_texts_in_a_file_and_on_standard_output(
    run: ScoreRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_alignments(run, tmp_path / "deep" / "out.pra")
    text = (tmp_path / "deep" / "out.pra").read_text(encoding="utf-8")
    assert text.startswith("System name:   h.csv\n\n") and "HYP:  one two TREE" in text.replace("tree", "TREE")
    write_alignments(run, STANDARD_OUTPUT)
    assert capsys.readouterr().out == text
    with pytest.raises(UserError, match="cannot be written"):
        write_alignments(run, tmp_path / "r.csv" / "out.pra")
