"""Corpora without a table of ours: their folders as their authors describe them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from speechxfer.data.audio import load_waveform
from speechxfer.data.reader import read
from speechxfer.errors import UserError

Writer = Callable[..., Path]


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_librispeech(tmp_path: Path, write_tone: Writer) -> None:
    for split, name in (("train-clean-100", "19-198"), ("test-other", "1688-142285")):
        folder = tmp_path / split / name.replace("-", "/")
        put(folder / f"{name}.trans.txt", f"{name}-0000 NORTHANGER ABBEY\n{name}-0001 THIS LITTLE WORK\n")
        for number in range(2):
            write_tone(folder / f"{name}-000{number}.flac")
    rows = read(tmp_path)
    assert [(row["id"], row["text"], row["speaker"], row["chapter"], row["split"]) for row in rows] == [
        ("1688-142285-0000", "NORTHANGER ABBEY", "1688", "142285", "test"),
        ("1688-142285-0001", "THIS LITTLE WORK", "1688", "142285", "test"),
        ("19-198-0000", "NORTHANGER ABBEY", "19", "198", "train"),
        ("19-198-0001", "THIS LITTLE WORK", "19", "198", "train"),
    ]
    assert len(load_waveform(rows[3])) == 16_000


def test_timit(tmp_path: Path, write_tone: Writer) -> None:
    folder = tmp_path / "TRAIN/DR4/FALR0"
    write_tone(folder / "SA1.WAV")
    put(folder / "SA1.TXT", "0 61748 She had your dark suit in greasy wash water all year.\n")
    put(folder / "SA1.PHN", "0 2360 h#\n")
    (row,) = read(tmp_path)
    assert row["text"] == "She had your dark suit in greasy wash water all year."
    assert (row["speaker"], row["accent"], row["gender"], row["split"]) == ("FALR0", "DR4", "f", "train")
    assert len(load_waveform(row)) == 16_000


def test_ljspeech(tmp_path: Path, write_tone: Writer) -> None:
    write_tone(tmp_path / "wavs/LJ001-0001.wav")
    write_tone(tmp_path / "wavs/LJ001-0002.wav")
    put(tmp_path / "metadata.csv", 'LJ001-0001|In "1465",|In "fourteen sixty-five",\nLJ001-0002|Yes|Yes\n')
    for source in (tmp_path, tmp_path / "metadata.csv"):
        rows = read(source)
        assert rows["id"][:] == ["LJ001-0001", "LJ001-0002"]
        assert (rows[0]["text"], rows[0]["raw_text"]) == ('In "fourteen sixty-five",', 'In "1465",')
        assert len(load_waveform(rows[1])) == 16_000
    put(tmp_path / "metadata.csv", "LJ001-0001|a|b\nLJ001-0002|c\n")
    with pytest.raises(UserError, match="line 2 has 2 cells instead of 3"):
        read(tmp_path)


def test_fleurs(tmp_path: Path, write_tone: Writer) -> None:
    line = "{id}\t{name}.wav\tEs ist 3 Uhr.\tes ist drei uhr\te s | i s t\t16000\tFEMALE\n"
    write_tone(tmp_path / "audio/dev/10.wav")
    write_tone(tmp_path / "audio/dev/11.wav")
    put(tmp_path / "dev.tsv", line.format(id=1649, name=10) + line.format(id=1649, name=11))
    messages: list[str] = []
    rows = read(tmp_path / "dev.tsv", on_warning=messages.append)
    assert rows["id"][:] == ["audio/dev/10.wav", "audio/dev/11.wav"] and "'1649' in rows 1, 2" in messages[0]
    assert (rows[0]["text"], rows[0]["raw_transcription"], rows[0]["gender"]) == (
        "es ist drei uhr",
        "Es ist 3 Uhr.",
        "FEMALE",
    )
    assert len(load_waveform(rows[1])) == 16_000


def test_audio_with_text_files(tmp_path: Path, write_tone: Writer) -> None:
    for name in ("a.wav", "deep/b.flac", "c.wav"):
        write_tone(tmp_path / name)
    put(tmp_path / "a.txt", "one\ntwo \n")
    put(tmp_path / "deep/b.lab", "three")
    put(tmp_path / "README.txt", "no transcript")
    rows = read(tmp_path)
    assert [(row["id"], row["text"]) for row in rows] == [("a.wav", "one two"), ("c.wav", ""), ("deep/b.flac", "three")]
    assert "start" not in rows.column_names


def test_audio_with_subtitles(tmp_path: Path, write_tone: Writer) -> None:
    write_tone(tmp_path / "talk.wav")
    put(tmp_path / "talk.vtt", "WEBVTT\n\n00:00.000 --> 00:00.400\none\n\n00:00.500 --> 00:01.000\ntwo\n")
    for source in (tmp_path, tmp_path / "talk.vtt"):
        rows = read(source)
        assert [(row["text"], row["start"], row["end"]) for row in rows] == [("one", 0.0, 0.4), ("two", 0.5, 1.0)]
        assert len(load_waveform(rows[0])) == 6_400
    put(tmp_path / "other.srt", "1\n00:00:00,000 --> 00:00:01,000\none\n")
    with pytest.raises(UserError, match=r"other\.srt: there is no audio file of the same name"):
        read(tmp_path / "other.srt")


def test_a_saved_dataset(tmp_path: Path, write_tone: Writer) -> None:
    audio = [str(write_tone(tmp_path / f"{n}.wav")) for n in range(3)]
    rows = datasets.Dataset.from_dict({"audio": audio, "sentence": ["x", "y", "z"], "client_id": ["1", "1", "2"]})
    rows = rows.cast_column("audio", datasets.Audio(decode=False)).select([2, 0])
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(str(tmp_path / "splits"))
    found = read(tmp_path / "one")
    assert (found["text"][:], found["speaker"][:]) == (["z", "x"], ["2", "1"])
    assert len(load_waveform(found[0])) == 16_000
    messages: list[str] = []
    assert read(tmp_path / "splits", on_warning=messages.append)["split"][:] == ["train", "train", "test"]
    (tmp_path / "one/dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="is not readable as a saved data set"):
        read(tmp_path / "one")
