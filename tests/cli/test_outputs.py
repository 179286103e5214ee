"""Which existing files a command may replace."""

from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.cli._options import write_json
from speechxfer.cli._outputs import check_output_files, is_own_file
from speechxfer.errors import UserError


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """Two tables in the working folder, a recording and an empty file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("id,text\n1,a b\n")
    (tmp_path / "h.csv").write_text("id,hypothesis\n1,a c\n")
    (tmp_path / "a.wav").write_bytes(b"RIFF" + bytes(40))
    (tmp_path / "empty").touch()
    return tmp_path


def run(*words):
    return CliRunner().invoke(build_app(), [str(word) for word in words])


@pytest.mark.parametrize("option", ["--html", "--output", "--json"])
@pytest.mark.parametrize("file", ["a.wav", "r.csv", "h.csv", "refs.json"])
def test_files_of_the_user_are_never_replaced(option, file, texts):
    (texts / "refs.json").write_text('{"u1": "a b"}\n')
    before = (texts / file).read_bytes()
    found = run("score", "r.csv", "h.csv", option, file)
    assert found.exit_code == 2 and file in found.output and "another file" in found.output
    assert (texts / file).read_bytes() == before


@pytest.mark.parametrize("option", ["--html", "--output", "--json"])
def test_own_and_empty_files_are_replaced(option, texts):
    for file in ("out", "out", "empty"):
        assert run("score", "r.csv", "h.csv", option, file).exit_code == 0
    assert is_own_file(texts / "out") and (texts / "out").read_bytes() == (texts / "empty").read_bytes()


def test_json_of_every_command_names_its_schema(texts):
    write_json("check", {"rows": 1}, texts / "c.json")
    assert json.loads((texts / "c.json").read_text()) == {"schema": "speechxfer.check/1", "rows": 1}
    assert is_own_file(texts / "c.json") and not is_own_file(texts / "r.csv") and not is_own_file(texts / "none")


def test_two_outputs_and_folders(texts):
    for outputs, problem in (
        ({"--html": texts / "x", "--json": texts / "x"}, "two outputs"),
        ({"--html": texts}, "is a folder"),
    ):
        with pytest.raises(UserError, match=problem):
            check_output_files(outputs)


def test_links_to_inputs_are_inputs_and_pipes_are_written(texts):
    (texts / "link").symlink_to(texts / "r.csv")
    with pytest.raises(UserError, match="is also an input"):
        check_output_files({"--output": texts / "link"}, [texts / "r.csv"], overwrite=True)
    os.mkfifo(texts / "pipe")
    check_output_files({"--output": texts / "pipe"}, [texts / "r.csv"])


def test_overwrite_is_for_files_that_cannot_be_told(texts):
    (texts / "s.txt").write_text("a b c\n" * 20)
    (texts / "lm.arpa").write_text("mine")
    refused = run("lm", "s.txt", "--output", "lm.arpa")
    assert refused.exit_code == 2 and "--overwrite" in refused.output and (texts / "lm.arpa").read_text() == "mine"
    assert run("lm", "s.txt", "--output", "lm.arpa", "--overwrite").exit_code == 0
    assert (texts / "lm.arpa").read_text().startswith("\\data\\")


def test_a_language_model_never_replaces_its_own_text(texts):
    (texts / "s.arpa").write_text("a b c\n" * 20)
    for words in ([], ["--overwrite"]):
        found = run("lm", "s.arpa", "--output", "s.arpa", *words)
        assert found.exit_code == 2 and "is also an input" in found.output
    assert (texts / "s.arpa").read_text() == "a b c\n" * 20
