"""`speechxfer export`: what it prints, writes and refuses."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.export.parity import TOLERANCES

pytest.importorskip("ctranslate2")


def run(*words):
    return CliRunner().invoke(build_app(), ["export", *map(str, words)], catch_exceptions=False)


def test_it_writes_checks_and_reports(whisper, speech, tmp_path):
    out, target = tmp_path / "out", tmp_path / "export.json"
    words = (whisper, "--to", "ctranslate2", "--output", out, "--check", speech, "--json", target)
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert f"written  {out}: ctranslate2, float32, 0." in done.output
    assert "checked  6 utterances" in done.output
    found = json.loads(target.read_text())
    assert (found["to"], found["quantization"], found["output"]) == ("ctranslate2", "float32", str(out))
    assert found["files"]["model.bin"] == (out / "model.bin").stat().st_size
    assert found["check"]["holds"] and found["check"]["utterances"] == 6 and found["check"]["data"] == str(speech)
    assert 0 < found["check"]["largest"] < 1e-3

    again = run(*words)
    assert again.exit_code == 2 and "--overwrite" in again.output and "Traceback" not in again.output
    assert run(*words, "--overwrite", "--quiet").output == ""


def test_columns_of_the_check_under_other_names(whisper, speech, tmp_path):
    renamed = speech.with_name("renamed.csv")
    renamed.write_text(speech.read_text().replace("audio,text", "clip,words", 1))
    words = (whisper, "--to", "transformers", "--check", renamed, "--json", "-")
    done = run(*words, "--output", tmp_path / "out", "--column", "audio=clip")
    assert done.exit_code == 0 and json.loads(done.stdout)["check"]["utterances"] == 6
    done = run(*words, "--output", tmp_path / "other", "--column", "audio=none")
    assert done.exit_code == 2 and "audio=none" in done.output and not (tmp_path / "other").exists()


def test_json_on_standard_output_is_nothing_but_json(whisper, tmp_path):
    done = run(whisper, "--to", "transformers", "--output", tmp_path / "out", "--json", "-")
    assert done.exit_code == 0 and json.loads(done.stdout)["check"] is None
    assert "not checked" in run(whisper, "--to", "transformers", "--output", tmp_path / "other").output


def test_a_model_that_came_out_otherwise_is_exit_code_1(whisper, speech, tmp_path, monkeypatch):
    monkeypatch.setitem(TOLERANCES, "int8", (0.0, 0.0))
    one = tmp_path / "one.csv"
    one.write_text(f"audio\n{speech.parent}/audio/0.wav\n")
    words = ("--to", "ctranslate2", "--quantization", "int8", "--output", tmp_path / "out", "--check", one)
    done = run(whisper, *words)
    assert done.exit_code == 1 and "NOT EQUAL" in done.output


@pytest.mark.parametrize(
    "words, texts",
    [
        (("--to", "onx"), "'onx' is not one of transformers, ctranslate2, onnx (did you mean 'onnx'?)"),
        (("--to", "faster-whisper"), "(faster-whisper reads ctranslate2)\n  fix: use --to ctranslate2"),
        (("--to", "transformers", "--quantization", "int8"), "float32, float16, which transformers supports"),
        (("--to", "transformers", "--check", "none.csv"), "none.csv"),
    ],
)
def test_a_user_s_mistakes_are_exit_code_2(words, texts, whisper, tmp_path):
    done = run(whisper, "--output", tmp_path / "out", *words)
    assert done.exit_code == 2 and texts in done.output
    assert not (tmp_path / "out").exists()


def test_no_such_model(tmp_path):
    done = run(tmp_path / "nothing", "--to", "transformers", "--output", tmp_path / "out")
    assert done.exit_code == 2 and "no such model" in done.output


def test_a_multilingual_model_wants_its_language(multilingual_whisper, tmp_path):
    done = run(multilingual_whisper, "--to", "transformers", "--output", tmp_path / "out")
    assert done.exit_code == 2 and "--language en" in done.output
    done = run(multilingual_whisper, "--to", "transformers", "--output", tmp_path / "out", "--language", "de")
    assert done.exit_code == 0, done.output
