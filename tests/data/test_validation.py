"""Rows that cannot be used, each made on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data.reader import read
from speechxfer.data.validation import InputLimits, check_utterance, count_min_ctc_frames, find_invalid_rows

Writer = Callable[..., Path]


def made(folder: Path, write: Writer) -> Path:
    write(folder / "good.wav")
    write(folder / "long.wav", 3.0)
    whole = write(folder / "cut.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[:5000])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "words.wav").write_text("hello " * 200)
    rows = ["good.wav,hello", "long.wav,hello", "cut.wav,hello", "empty.wav,hello", "words.wav,hello", "gone.wav,hello"]
    rows += [",hello", "./good.wav, ", f"../{folder.name}/good.wav,{'ab ' * 40}"]
    (folder / "t.csv").write_text("audio,text\n" + "\n".join(rows) + "\n")
    return folder / "t.csv"


def test_every_kind(tmp_path: Path, write_tone: Writer) -> None:
    rows = read(made(tmp_path, write_tone))
    limits = InputLimits(max_seconds=2.0, max_tokens=20, count_tokens=lambda text: len(text.split()))
    done: list[int] = []
    found = {bad.index: bad for bad in find_invalid_rows(rows, text="text", limits=limits, progress=done.append)}
    assert done[-1] == len(rows)
    assert {index: bad.problem.split(" (")[0] for index, bad in found.items()} == {
        1: "lasts 3.0 s; the model takes 2 s",
        2: "is truncated or damaged",
        3: "is empty",
        4: "is text, not audio",
        5: "no such file",
        6: "no audio is named",
        7: "its text is empty",
        8: "its text is 40 tokens; the model takes 20",
    }
    assert str(found[5]) == "gone.wav: no such file"
    assert all(bad.fix for bad in found.values())


def test_the_tokens_of_a_very_long_text_are_not_counted() -> None:
    def count(text: str) -> int:
        raise AssertionError("counted")

    problem = check_utterance(1.0, "word " * 1_000, InputLimits(max_tokens=20, count_tokens=count))
    assert problem == ("its text is 5,000 characters; the model takes 20 tokens", "cut the utterance")


def test_without_text_and_limits(tmp_path: Path, write_tone: Writer) -> None:
    rows = read(made(tmp_path, write_tone))
    assert [bad.index for bad in find_invalid_rows(rows, text=None, limits=None)] == [2, 3, 4, 5, 6]


def test_silence_is_no_speech_and_may_have_a_label(tmp_path: Path, write_tone: Writer) -> None:
    write_tone(tmp_path / "good.wav")
    for name, peak in (("muted", 0.0), ("noise", 0.0009), ("faint", 0.0011)):
        soundfile.write(tmp_path / f"{name}.wav", peak * np.resize([1.0, -1.0], 8_000), 16_000)
    rows = [f"{name}.wav,yes,yes" for name in ("good", "muted", "noise", "faint")]
    (tmp_path / "t.csv").write_text("audio,text,label\n" + "\n".join(rows) + "\n")
    heard = read(tmp_path / "t.csv")
    assert [str(bad) for bad in find_invalid_rows(heard)] == ["muted.wav: is silent", "noise.wav: is silent"]
    assert find_invalid_rows(heard, text="label") == []


def test_damage_that_no_header_shows(tmp_path: Path, write_tone: Writer) -> None:
    flac = write_tone(tmp_path / "half.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(flac[: len(flac) // 2] + bytes(len(flac) // 2))
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan, 0.2] * 3000, np.float32), 16_000, subtype="FLOAT")
    write_tone(tmp_path / "good.wav")
    (tmp_path / "t.csv").write_text("audio,text\nhalf.flac,a\nnan.wav,b\ngood.wav,c\n")
    found = find_invalid_rows(read(tmp_path / "t.csv"))
    assert [(bad.index, bad.problem.split(" (")[0]) for bad in found] == [
        (0, "is truncated or damaged"),
        (1, "holds samples that are not numbers"),
    ]


def test_too_short_for_ctc(tmp_path: Path, write_tone: Writer) -> None:
    write_tone(tmp_path / "a.wav", 0.1)  # 5 frames
    write_tone(tmp_path / "b.wav", 0.1)
    (tmp_path / "t.csv").write_text("audio,text\na.wav,hello\nb.wav,helo\n")
    dataset, limits = read(tmp_path / "t.csv"), InputLimits(frames_per_second=50)
    found = find_invalid_rows(dataset, limits=limits)
    assert [(bad.index, bad.problem) for bad in found] == [(0, "is too short for its text: 5 frames, CTC needs 6")]
    assert not find_invalid_rows(dataset, limits=replace(limits, pad_silence=0.01))  # a frame more
    assert not find_invalid_rows(
        dataset, limits=replace(limits, target_normaliser=lambda text: text[:3])
    )  # as it is learnt


@settings(max_examples=60)
@given(st.text("ab", min_size=1, max_size=8))
def test_ctc_frames_is_where_the_loss_becomes_finite(text: str) -> None:
    needed = count_min_ctc_frames(text)
    assert needed == len(text) + sum(len(list(run)) - 1 for _, run in groupby(text))
    targets = torch.tensor([["ab".index(letter) + 1 for letter in text]])
    for frames, finite in ((needed, True), (needed - 1, False)):
        if frames:
            emissions = torch.zeros(frames, 1, 3).log_softmax(-1)
            loss = torch.nn.functional.ctc_loss(emissions, targets, torch.tensor([frames]), torch.tensor([len(text)]))
            assert bool(torch.isfinite(loss)) == finite


@pytest.mark.parametrize("count", [1, 31, 32, 33, 700])
def test_rows_keep_their_numbers_whatever_the_chunks(tmp_path: Path, write_tone: Writer, count: int) -> None:
    write_tone(tmp_path / "a.wav", 0.01)
    lines = [f"{n},{'a.wav' if n % 7 else 'gone.wav'},t" for n in range(count)]
    (tmp_path / "t.csv").write_text("id,audio,text\n" + "\n".join(lines) + "\n")
    found = find_invalid_rows(read(tmp_path / "t.csv"))
    assert [(bad.index, bad.id) for bad in found] == [(n, str(n)) for n in range(0, count, 7)]
