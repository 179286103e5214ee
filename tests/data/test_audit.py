"""The audit against faults put in on purpose, one at a time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.data.audit import AuditResult, audit_dataset
from speechxfer.data.reader import read
from speechxfer.data.validation import InputLimits

Corpus = Callable[..., Path]
Writer = Callable[..., Path]


def look(table: Path, limits: InputLimits | None = None) -> AuditResult:
    return audit_dataset(read(table), limits)


def warning(found: AuditResult, words: str) -> str:
    matching = [text for text in found.warnings if words in text]
    assert len(matching) == 1, found.warnings
    return matching[0]


def test_a_clean_corpus(corpus: Corpus) -> None:
    found = look(corpus(4, 3))
    assert (found.rows, found.errors, found.warnings, found.usable) == (12, [], [], list(range(12)))
    assert found.hours == pytest.approx(12 * 0.5 / 3600)
    assert found.speakers["0002"] == {"utterances": 3, "hours": pytest.approx(1.5 / 3600)}
    assert {name: total["utterances"] for name, total in found.accents.items()} == {"south": 6, "north": 6}


def test_silent_damaged_and_clipped(corpus: Corpus, tmp_path: Path, write_tone: Writer) -> None:
    table = corpus(5, 1)
    write_tone(tmp_path / "audio/001.wav", level=1e-4)
    flac = write_tone(tmp_path / "x.flac").read_bytes()
    (tmp_path / "audio/002.wav").write_bytes(flac[: len(flac) // 2] + bytes(len(flac) // 2))  # the header is whole
    loud = np.clip(3 * np.sin(np.arange(8000) / 20), -1, 1)
    soundfile.write(tmp_path / "audio/003.wav", loud, 16_000)
    found = look(table)
    assert [(bad.index, bad.problem.split(" (")[0]) for bad in found.errors] == [
        (1, "is silent"),
        (2, "is truncated or damaged"),
    ]
    assert found.usable == [0, 3, 4]
    assert warning(found, "clipped").startswith("row 4 is clipped")


def test_a_row_may_have_several_errors(corpus: Corpus) -> None:
    table = corpus(2, 1)
    table.write_text("id,audio,text\nx,gone.wav,\ny,audio/001.wav,word\n")
    found = look(table)
    assert [(bad.index, bad.problem) for bad in found.errors] == [(0, "no such file"), (0, "its text is empty")]
    assert found.usable == [1]


def test_copies_by_content_across_formats_and_splits(corpus: Corpus, tmp_path: Path) -> None:
    table = corpus(4, 1, split=lambda n: "test" if n == 3 else "train")
    samples, rate = soundfile.read(tmp_path / "audio/000.wav", dtype="int16")
    soundfile.write(tmp_path / "audio/003.wav", samples, rate, format="FLAC", subtype="PCM_16")
    found = look(table)
    assert "keep one of each" in warning(found, "the same audio is in several rows (rows 1, 4)")
    assert "the test is not held out" in warning(found, "in several splits (rows 1, 4)")
    assert "all but one are wrong" in warning(found, "different texts (rows 1, 4)")


def test_cuts_of_one_file_are_not_copies(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 32_000), 16_000)
    (tmp_path / "t.csv").write_text("audio,text,speaker,start,end\na.wav,hi,s,0,1\na.wav,ho,s,1,2\n")
    assert look(tmp_path / "t.csv").warnings == []


def test_speakers_and_sentences_in_several_splits(corpus: Corpus) -> None:
    table = corpus(3, 2, split=lambda n: "test" if n in (1, 2) else "train")
    found = look(table)
    assert warning(found, "speakers are in several splits").startswith("2 of 3 speakers")
    table.write_text(table.read_text().replace("word 2", "WORD  0"))
    assert "1 of 5 sentences are in several splits (e.g. 'word 0' in test, train)" in warning(look(table), "sentences")


def test_what_the_vocabulary_lacks(corpus: Corpus) -> None:
    table = corpus(3, 1)
    table.write_text(table.read_text().replace("word 1", "WÖRD 1"))
    found = look(table, InputLimits(characters=set("wordö "), case="lower"))
    assert "another case than the model's lower case" in warning(found, "row 2 is written in another case")
    lacking = warning(found, "characters that the model lacks")
    assert "3 rows (1, 2, 3)" in lacking
    assert {letter for letter in ["'0'", "'1'", "'2'"] if letter in lacking} == {"'0'", "'1'", "'2'"}
    assert "Ö" not in lacking


def test_limits_of_a_model(corpus: Corpus, tmp_path: Path, write_tone: Writer) -> None:
    table = corpus(3, 1)
    write_tone(tmp_path / "audio/001.wav", 2.0)
    table.write_text(table.read_text().replace("word 2", "a text far too long for half a second of audio"))
    found = look(table, InputLimits(max_seconds=1.0, frames_per_second=50))
    assert [(bad.index, bad.problem.split(";")[0].split(":")[0]) for bad in found.errors] == [
        (1, "lasts 2.0 s"),
        (2, "is too short for its text"),
    ]
    assert warning(look(table), "under CTC").startswith("row 3 is too short")  # no model: a warning only


def test_outliers_in_characters_a_second(tmp_path: Path) -> None:
    rng, lines = random.Random(0), ["audio,text,speaker"]
    for number in range(60):
        seconds = rng.uniform(1, 4)
        letters = round(seconds * 12 * rng.uniform(0.8, 1.25)) if number != 41 else 1
        letters = round(seconds * 100) if number == 7 else letters
        samples = 0.3 * np.sin(np.arange(round(seconds * 8000)) / (5 + number))
        soundfile.write(tmp_path / f"{number}.wav", samples, 8_000)
        lines.append(f"{number}.wav,{'a' * letters},s")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    found = look(tmp_path / "t.csv")
    assert warning(found, "unusual speaking rate").startswith("2 rows (8, 42) have")
    assert math.isfinite(found.hours)


def test_what_adapt_would_not_take_is_said(corpus: Corpus, tmp_path: Path) -> None:
    corpus(4, 1)
    rows = [f"audio/00{row}.wav,{text},{label},{split}" for row, (text, label, split) in enumerate(
        [("word", "", "train"), ("...", "", "Valid"), ("word", "", "trainn"), ("word", "", "")]
    )]  # fmt: skip
    (tmp_path / "t.csv").write_text("audio,text,label,split\n" + "\n".join(rows) + "\n")
    found = look(tmp_path / "t.csv")
    assert warning(found, "without a word in the text").startswith("row 2 is")
    assert warning(found, "neither train, dev nor test").startswith("row 3 is of split trainn")
    (tmp_path / "l.csv").write_text("audio,text,label\naudio/000.wav,,on\naudio/001.wav,,off\n")
    assert look(tmp_path / "l.csv").usable == [0, 1]  # a classifier learns from labels


def test_missing_columns_are_said(corpus: Corpus, tmp_path: Path) -> None:
    corpus(2, 1)
    (tmp_path / "bare.csv").write_text("audio\naudio/000.wav\naudio/001.wav\n")
    found = look(tmp_path / "bare.csv")
    assert found.errors == []
    assert warning(found, "no column 'text'")
    assert warning(found, "no column 'speaker'")


def test_silence_may_have_a_label(tmp_path: Path, write_tone: Writer) -> None:
    """As training accepts it; with a text it is an error."""
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 16_000)
    for name, errors in (("label", 0), ("text", 1)):
        (tmp_path / f"{name}.csv").write_text(f"audio,{name}\nsilent.wav,unknown\n")
        assert len(look(tmp_path / f"{name}.csv").errors) == errors
