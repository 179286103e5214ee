"""Handling of the shared options: JSON output, silence, columns, write errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from speechxfer.cli._options import _check_json_target, is_silent, split_columns, translate_write_errors, write_json
from speechxfer.errors import UserError


def test_json_is_written_to_a_new_folder_and_read_back(tmp_path: Path) -> None:
    document = {"text": "größer", "values": [1, None, 0.5]}
    write_json("check", document, tmp_path / "a" / "b.json")
    text = (tmp_path / "a" / "b.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"schema": "speechxfer.check/1", **document}
    assert "größer" in text and text.endswith("}\n")


def test_json_on_standard_output_and_without_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    write_json("lm", {"a": 1}, Path("-"))
    write_json("lm", {"b": 2}, None)
    assert json.loads(capsys.readouterr().out) == {"schema": "speechxfer.lm/1", "a": 1}


def test_json_below_a_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_json("lm", {}, tmp_path / "file" / "x.json")


def test_only_own_files_are_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json("check", {"rows": 1}, tmp_path / "old.json")
    (tmp_path / "talk.wav").write_text("content")
    assert _check_json_target(tmp_path / "old.json") == tmp_path / "old.json"
    assert _check_json_target(tmp_path / "new.txt") == tmp_path / "new.txt"
    with pytest.raises(typer.Exit) as stopped:
        _check_json_target(tmp_path / "talk.wav")
    assert stopped.value.exit_code == 2
    assert "already exists, and was not written by speechxfer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("quiet", "target", "silent"),
    [(False, None, False), (True, None, True), (False, Path("-"), True), (False, Path("a.json"), False)],
)
def test_silence(quiet: bool, target: Path | None, silent: bool) -> None:
    assert is_silent(quiet, target) is silent


@pytest.mark.parametrize(
    ("by", "columns"),
    [
        (None, "auto"),
        (["auto"], "auto"),
        (["none"], []),
        ([""], []),
        (["speaker, accent", "gender+age"], ["speaker", "accent", "gender+age"]),
    ],
)
def test_columns(by: list[str] | None, columns: object) -> None:
    assert split_columns(by) == columns


@pytest.mark.parametrize("by", [["auto", "accent"], ["accent,none"]])
def test_auto_and_none_stand_alone(by: list[str]) -> None:
    with pytest.raises(UserError, match="cannot be combined with columns"):
        split_columns(by)


def test_write_errors_name_the_file_and_a_closed_pipe_stays_one() -> None:
    with pytest.raises(UserError, match=r"out\.txt: cannot be written \(no space\)"), translate_write_errors("out.txt"):
        raise OSError(28, "no space")
    with pytest.raises(BrokenPipeError), translate_write_errors("out.txt"):
        raise BrokenPipeError
