"""Positives and negatives from folders, lists and tables, held-out speakers, and speech bounds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.errors import UserError
from speechxfer.wakeword.data.clips import (
    check_clips,
    find_speech_bounds,
    holds_word,
    is_same_word,
    load_waveforms,
    read_positives,
    read_rows,
    split_by_word,
    split_held_out,
)
from speechxfer.wakeword.runtime.features import compute_mel_energies

Clip = Callable[..., np.ndarray]


def test_a_folder_a_list_and_a_file(tunes: Path, tmp_path: Path) -> None:
    rows = read_rows(tunes / "test_words")
    assert [row["id"] for row in rows] == [f"{i:03}.wav" for i in range(10)]
    listed = tunes / "some.txt"
    listed.write_text("test_words/003.wav\n\ntest_words/001.wav\n")
    assert [row["path"] for row in read_rows(listed)] == [rows[3]["path"], rows[1]["path"]]
    assert len(read_rows(tunes / "test_words" / "000.wav")) == 1


def test_hidden_files_are_no_clips_and_any_name_is(tmp_path: Path, clip: Clip) -> None:
    for name in (b"a.wav", b"\xff.wav", b"._a.wav"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        soundfile.write(os.fsencode(path), clip("word", 1), 16_000, format="WAV")
    rows = read_rows(tmp_path)
    assert [row["id"] for row in rows] == ["a.wav", r"\xff.wav"]
    assert [len(waveform) for waveform in load_waveforms(rows)] == [len(clip("word", 1))] * 2


def test_all_recordings_that_cannot_be_read_are_named(tmp_path: Path, clip: Clip) -> None:
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", clip("word", number), 16_000)
    (tmp_path / "1.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"^1.wav: is truncated or damaged"):
        list(load_waveforms(read_rows(tmp_path)))
    (tmp_path / "3.wav").write_bytes(b"")
    waveforms = load_waveforms(read_rows(tmp_path))
    assert len(next(waveforms)) == len(clip("word", 0))
    with pytest.raises(UserError) as error:
        next(waveforms)
    assert "1.wav: is truncated or damaged" in str(error.value) and "3.wav: is empty (0 bytes)" in str(error.value)
    assert "0.wav" not in str(error.value) and "2.wav" not in str(error.value)


def test_a_list_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe.wav\n")
    with pytest.raises(UserError, match=r"l\.txt: cannot be read as a list"):
        read_rows(tmp_path / "l.txt")


def test_of_a_table_only_the_words_rows_are_positives(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("audio,label,speaker\na.wav,Hey Juniper,x\nb.wav,jarvis,x\nc.wav,hey-juniper,y\n")
    found = read_positives(table, "hey juniper")
    assert [r["audio"] for r in found.rows] == ["a.wav", "c.wav"]
    assert [r["audio"] for r in found.other_words] == ["b.wav"]
    with pytest.raises(UserError, match="no row has the label 'alexa'; the labels are Hey Juniper"):
        read_positives(table, "alexa")


def test_rows_that_say_the_word_are_found() -> None:
    rows = [
        {"id": "a", "text": "Hey, Juniper! What's up"},
        {"id": "b", "text": "hey junipers"},
        {"id": "c", "label": "HEY JUNIPER"},
        {"id": "d", "text": None},
    ]
    contaminated, without = split_by_word(rows, "hey juniper")
    assert [r["id"] for r in contaminated] == ["a", "c"] and [r["id"] for r in without] == ["b", "d"]
    assert is_same_word("Snow-Boy", "snow boy") and not holds_word("they juniper", "hey juniper")


def test_whole_speakers_are_held_out_and_always_the_same() -> None:
    rows = [{"id": f"{s}-{i}", "speaker": f"s{s}"} for s in range(50) for i in range(4)]
    train, held = split_held_out(rows, 0.2)
    assert {r["speaker"] for r in train}.isdisjoint(r["speaker"] for r in held)
    assert 20 <= len(held) <= 70 and len(train) + len(held) == 200
    assert split_held_out(rows[::-1], 0.2)[1][::-1] == held
    nameless = [{"id": str(i), "speaker": ""} for i in range(200)]
    assert 20 <= len(split_held_out(nameless, 0.2)[1]) <= 60


def test_clips_that_cannot_hold_a_word_are_named_together() -> None:
    rows = [{"audio": "short.wav"}, {"audio": "silent.wav"}, {"audio": "good.wav"}]
    loud = np.ones((50, 40), np.float32)
    with pytest.raises(UserError) as error:
        check_clips(rows, [loud[:5], 0 * loud, loud], "clips")
    assert "short.wav: 0.05 s" in str(error.value) and "silent.wav: silence" in str(error.value)
    assert "good.wav" not in str(error.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_rows(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        read_rows(tmp_path / "empty")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="list is empty"):
        read_rows(tmp_path / "empty.txt")


def test_the_words_place_is_found_by_its_loudness(clip: Clip) -> None:
    start, end = find_speech_bounds(compute_mel_energies(clip("word", 3, lead=0.8, tail=0.7)))
    assert pytest.approx(start / 100, abs=0.06) == 0.8
    assert len(clip("word", 3, 0.8, 0.7)) / 16_000 - 0.7 == pytest.approx(end / 100, abs=0.06)


def test_a_clip_without_pauses_is_all_word() -> None:
    noise = compute_mel_energies(np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1)
    assert find_speech_bounds(noise) == (0, len(noise))
    assert find_speech_bounds(np.zeros((0, 40), np.float32)) == (0, 0)


def write_folder(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_precise_s_folders_are_labels(tmp_path: Path) -> None:
    """Only `wake-word` holds the word, as positives, and as negatives too."""
    folder = write_folder(
        tmp_path, "wake-word/1.wav", "wake-word/2.wav", "not-wake-word/3.wav", "test/not-wake-word/random/4.wav"
    )
    found = read_positives(folder, "hey juniper")
    assert [row["audio"] for row in found.rows] == ["wake-word/1.wav", "wake-word/2.wav"]
    assert [row["audio"] for row in found.other_words] == ["not-wake-word/3.wav", "test/not-wake-word/random/4.wav"]
    contaminated, without = split_by_word(read_rows(folder), "hey juniper")
    assert (len(contaminated), len(without)) == (2, 2)


def test_a_folder_per_word(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "hey_juniper/1.wav", "jarvis/2.wav")
    assert [row["audio"] for row in read_positives(folder, "hey juniper").rows] == ["hey_juniper/1.wav"]
    assert len(read_positives(folder, "alexa").rows) == 2  # folders of something else, e.g. of sessions
