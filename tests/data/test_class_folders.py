"""Folders with a subfolder per class: Speech Commands, Hugging Face's audiofolder, Precise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.data.class_folders import find_wake_word_label
from speechxfer.data.reader import read
from speechxfer.data.splits import make_splits
from speechxfer.errors import UserError

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """build("yes/1.wav", ...): a folder with these recordings."""

    def make(*names: str) -> Path:
        for number, name in enumerate(names):
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.sin(np.arange(800) / (3 + number)), 16_000)
        return tmp_path / "data"

    return make


def test_the_folder_is_the_label(build: Build) -> None:
    rows = read(build("yes/1.wav", "yes/2.flac", "no/1.wav"))
    assert list(zip(rows["audio"], rows["label"], strict=True)) == [
        ("no/1.wav", "no"),
        ("yes/1.wav", "yes"),
        ("yes/2.flac", "yes"),
    ]
    assert "split" not in rows.column_names and "speaker" not in rows.column_names and "text" not in rows.column_names


def test_folders_of_splits(build: Build) -> None:
    folder = build("train/yes/1.wav", "train/no/1.wav", "validation/yes/2.wav", "test/no/3.wav")
    rows = {row["audio"]: (row["label"], row["split"]) for row in read(folder)}
    assert rows == {
        "train/yes/1.wav": ("yes", "train"),
        "train/no/1.wav": ("no", "train"),
        "validation/yes/2.wav": ("yes", "dev"),
        "test/no/3.wav": ("no", "test"),
    }
    splits = make_splits(str(folder))
    assert [len(part) for part in (splits.train, splits.dev, splits.test)] == [2, 1, 1]


def test_speech_commands(build: Build) -> None:
    """Its noise is no class, which is told; speakers are in the names, and the splits in two lists."""
    folder = build(
        "yes/0a7c2a8d_nohash_0.wav", "no/0a7c2a8d_nohash_1.wav", "no/1b_nohash_0.wav", "_background_noise_/pink.wav"
    )
    (folder / "validation_list.txt").write_text("no/1b_nohash_0.wav\n")
    (folder / "testing_list.txt").write_text("no/0a7c2a8d_nohash_1.wav\n")
    told: list[str] = []
    rows = {row["audio"]: row for row in read(folder, on_warning=told.append)}
    assert {row["label"] for row in rows.values()} == {"yes", "no"}
    assert told == [f"{folder}: _background_noise_ is noise, not a class: it is left out"]
    assert rows["no/1b_nohash_0.wav"]["speaker"] == "1b"
    assert {name: row["split"] for name, row in rows.items()} == {
        "yes/0a7c2a8d_nohash_0.wav": "train",
        "no/0a7c2a8d_nohash_1.wav": "test",
        "no/1b_nohash_0.wav": "dev",
    }


def test_files_that_macos_writes_are_no_clips(build: Build) -> None:
    assert len(read(build("yes/1.wav", "yes/._1.wav", "no/1.wav"))) == 2


@pytest.mark.parametrize("names", [("1.wav", "yes/2.wav"), ("yes/1.wav",), ("a/yes/1.wav", "a/no/2.wav")])
def test_other_folders_have_no_labels(build: Build, names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="no folders of audio, one per class"):
        read(build(*names))


def test_texts_of_the_same_names_come_first(build: Build) -> None:
    folder = build("a/1.wav", "b/2.wav")
    (folder / "a" / "1.txt").write_text("hello")
    assert list(read(folder)["text"]) == ["hello", ""]


def test_precise_has_two_folders() -> None:
    assert find_wake_word_label(Path("wake-word/1.wav"), "jarvis") == "jarvis"
    assert find_wake_word_label(Path("test/not-wake-word/noise/1.wav"), "jarvis") == "not-wake-word"
    assert find_wake_word_label(Path("clips/1.wav"), "jarvis") is None
    assert find_wake_word_label(Path("wake-word.wav"), "jarvis") is None
