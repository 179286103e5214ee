"""`speechxfer check`: exit codes, messages, JSON and the clean table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import speechxfer.models
from speechxfer.cli import build_app
from speechxfer.data.audio import load
from speechxfer.data.bad_rows import Limits
from speechxfer.data.read import read


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["check", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    for number in range(4):
        samples = 0.3 * np.sin(np.arange(8000) / (10 + number))
        soundfile.write(tmp_path / f"audio/{number}.wav", samples, 16_000)
    lines = [f"audio/{number}.wav,word {number},000{number // 2},north" for number in range(4)]
    (tmp_path / "t.csv").write_text("audio,text,speaker,accent\n" + "\n".join(lines) + "\n")
    return tmp_path / "t.csv"


def test_clean(table: Path, tmp_path: Path) -> None:
    code, out, _ = run(table, "--json", tmp_path / "out/r.json")
    assert code == 0
    assert out.splitlines()[-1] == f"{table}: 4 rows, 0.0 min, 4 usable, 0 bad, 0 warnings"
    assert "2 speakers: 0000 0.0 min in 2, 0001 0.0 min in 2" in out
    result = json.loads((tmp_path / "out/r.json").read_text())
    assert set(result) == {"rows", "usable", "hours", "errors", "warnings", "speakers", "accents"}
    assert result["hours"] == pytest.approx(4 * 0.5 / 3600)
    assert result["accents"]["north"]["utterances"] == 4


def test_bad_rows_are_named_and_left_out(table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text() + "audio/gone.wav,word,0002,north\n")
    (tmp_path / "audio/1.wav").write_text("not audio")
    clean = tmp_path / "elsewhere/clean.csv"
    code, out, err = run(table, "--output", clean, "--json", tmp_path / "r.json")
    assert (code, err) == (1, "")
    assert "row 2 (audio/1.wav): is text, not audio (it begins 'not audio')" in out
    assert "row 5 (audio/gone.wav): no such file" in out
    errors = json.loads((tmp_path / "r.json").read_text())["errors"]
    assert [(error["row"], error["id"]) for error in errors] == [(2, "audio/1.wav"), (5, "audio/gone.wav")]
    assert set(errors[0]) == {"row", "id", "audio", "problem", "fix"}
    rows = read(clean)
    assert [(row["id"], row["audio"], row["speaker"]) for row in rows] == [
        ("audio/0.wav", "../audio/0.wav", "0000"),
        ("audio/2.wav", "../audio/2.wav", "0001"),
        ("audio/3.wav", "../audio/3.wav", "0001"),
    ]
    assert [len(load(row)) for row in rows] == [8000] * 3
    assert run(clean)[0] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or folder"),
        ("", "the table is empty"),
        ("audio,text\n", "has no rows"),
        ("file,text\na.wav,hi\n", "has no column 'audio'"),
        ("audio,text\na.wav,hi,ho\n", "line 2 has 3 cells"),
    ],
)
def test_what_is_not_data_at_all(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    code, out, err = run(tmp_path / "t.csv")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_quiet_and_json_to_standard_output(table: Path) -> None:
    table.write_text(table.read_text() + "gone.wav,word,0002,north\n")
    code, out, _ = run(table, "--quiet", "--json", "-")
    assert code == 1
    assert json.loads(out)["usable"] == 4


def test_a_model_sets_limits(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def limits(name: str) -> Limits:
        asked.append(name)
        return Limits(max_seconds=0.4)

    monkeypatch.setattr(speechxfer.models, "text_limits", limits)
    code, out, _ = run(table, "--model", "some-model")
    assert (code, asked) == (1, ["some-model"])
    assert "row 1 (audio/0.wav): lasts 0.5 s; the model takes 0.4 s" in out


def test_output_that_is_no_table(table: Path) -> None:
    code, _, err = run(table, "--output", "clean.xlsx")
    assert code == 2
    assert "end it in one of .csv" in err


def test_many_errors_are_counted(table: Path) -> None:
    table.write_text("audio,text\n" + "".join(f"gone{n}.wav,word\n" for n in range(70)))
    code, out, _ = run(table)
    assert code == 1
    assert out.count("error    row") == 50
    assert "… and 20 more errors" in out
