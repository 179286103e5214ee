"""`speechxfer lm`: text in, an ARPA file out that says what the text says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.text.ngram import read_arpa_words, train_ngram


def run(*words: str | Path):
    return CliRunner().invoke(build_app(), ["lm", *map(str, words)])


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("Hello, World!\n\nhello there\n--\n", encoding="utf-8")
    return path


def test_a_text_file_is_normalised_and_becomes_an_arpa_file(text, tmp_path):
    target = tmp_path / "made" / "lm.arpa"
    done = run(text, "--order", "3", "--output", target, "--json", tmp_path / "lm.json")
    assert done.exit_code == 0, done.output
    train_ngram(["hello world", "hello there"], 3).write(tmp_path / "truth.arpa")
    assert target.read_text() == (tmp_path / "truth.arpa").read_text()
    assert json.loads((tmp_path / "lm.json").read_text()) == {
        "schema": "speechxfer.lm/1",
        "output": str(target),
        "order": 3,
        "normaliser": "default",
        "sentences": 2,
        "held_out": 0,
        "words": 4,
        "vocabulary": 3,
        "ngrams": [6, 5, 4],  # with <s>, </s>, <unk>; <s> hello, hello world, hello there, world </s>, there </s>
    }
    assert "2 sentences" in done.output and f"decoding.lm={target}" in done.output


def test_the_normaliser_is_the_one_asked_for(text, tmp_path):
    assert run(text, "--normalise", "none", "--output", tmp_path / "lm.arpa.gz", "--quiet").output == ""
    assert sorted(read_arpa_words(tmp_path / "lm.arpa.gz")) == ["--", "Hello,", "World!", "hello", "there"]


def test_a_table_s_held_out_rows_are_not_looked_at(tmp_path):
    """Whatever `adapt` would take for them."""
    rows = ["audio,text,split", "a.wav,one two,train", "b.wav,secret,test", "c.wav,hidden,valid", "d.wav,,train"]
    rows += ["e.wav,speech, Testing", "f.wav,told,Validation"]
    (tmp_path / "all.csv").write_text("\n".join(rows))
    done = run(tmp_path / "all.csv", "--output", tmp_path / "lm.arpa")
    assert done.exit_code == 0 and "4 of dev and test left out" in done.output
    assert sorted(read_arpa_words(tmp_path / "lm.arpa")) == ["one", "two"]
    (tmp_path / "held.csv").write_text("\n".join(rows[:1] + rows[-2:]))
    done = run(tmp_path / "held.csv", "--output", tmp_path / "held.arpa")
    assert done.exit_code == 2 and "is dev or test in every row" in done.output


def test_the_text_of_a_table_under_another_name(tmp_path):
    (tmp_path / "t.csv").write_text("datei;wort\na.wav;eins zwei\nb.wav;drei\n")
    columns = ["--column", "audio=datei", "--column", "text=wort"]
    done = run(tmp_path / "t.csv", "--output", tmp_path / "lm.arpa", *columns)
    assert done.exit_code == 0, done.output
    assert sorted(read_arpa_words(tmp_path / "lm.arpa")) == ["drei", "eins", "zwei"]
    done = run(tmp_path / "t.csv", "--output", tmp_path / "no.arpa", "--column", "text=word")
    assert done.exit_code == 2 and "text=word (did you mean 'wort'?)" in done.output


@pytest.mark.parametrize(
    "content, words, message",
    [
        (b" \n--\n", ["--output", "lm.arpa"], "the text has no words"),
        (b"caf\xe9", ["--output", "lm.arpa"], "not UTF-8"),
        (b"a b", ["--output", "lm.bin"], "ARPA file"),
        (b"\\data\\\nngram 1=3\n", ["--output", "lm.arpa"], "is a language model already"),
        (b"a b", ["--output", "lm.arpa", "--normalise", "defualt"], "did you mean 'default'"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, content, words, message):
    monkeypatch.chdir(tmp_path)
    Path("train.txt").write_bytes(content)
    done = run("train.txt", *words)
    assert done.exit_code == 2 and message in done.output, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.txt"]


def test_no_such_file_and_no_text_column(tmp_path):
    assert run(tmp_path / "none.txt", "--output", tmp_path / "lm.arpa").exit_code == 2
    (tmp_path / "t.csv").write_text("audio\na.wav\n")
    done = run(tmp_path / "t.csv", "--output", tmp_path / "lm.arpa")
    assert done.exit_code == 2 and "has no column 'text'" in done.output
