"""Folders with a subfolder of audio per class: Speech Commands, Hugging Face's audiofolder, Precise.

| layout | label | split |
|---|---|---|
| `yes/1.wav` | yes | that of Speech Commands' lists, if they are there |
| `train/yes/1.wav` | yes | train (or dev, test, under any of their usual names) |
| `wake-word/1.wav`, `test/not-wake-word/2.wav` (Mycroft Precise) | wake-word, not-wake-word | none, test |
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from speechxfer.data.tables import Columns
from speechxfer.tables.text_file import read_text

BACKGROUND_FOLDER = "_background_noise_"  # Speech Commands: long recordings of noise, which are not a class
WAKE_WORD_FOLDERS = ("wake-word", "not-wake-word")  # Mycroft Precise
_SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "valid", "val", "validation", "eval", "development"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SPLIT_LISTS = {"validation_list.txt": "dev", "testing_list.txt": "test"}  # Speech Commands
_SPEAKER_MARK = "_nohash_"  # Speech Commands: SPEAKER_nohash_NUMBER.wav


def read_class_folders(folder: Path, audio: Iterable[Path]) -> Columns | None:
    """Read a folder in which every audio file is in the folder of its class.

    The classes are the folders of the audio files, in `folder` or in folders of its splits. Noise of Speech Commands is
    left out.

    Args:
        audio: the audio files in it, at any depth.

    Returns:
        Columns with paths relative to `folder`; None if a file is elsewhere, or if there are fewer than two classes.
    """
    splits = {line: split for name, split in _SPLIT_LISTS.items() for line in _read_lines(folder / name)}
    columns: Columns = {name: [] for name in ("audio", "label", "speaker", "split")}
    for path in audio:
        within = path.relative_to(folder)
        *outer, label, _ = ("", *within.parts)
        if label == BACKGROUND_FOLDER:
            continue
        split = _SPLIT_FOLDERS.get(outer[-1].lower(), "") if len(outer) == 2 else ""
        if not label or len(outer) > 2 or (len(outer) == 2 and not split):
            return None
        name = within.as_posix()
        speaker, mark, _ = within.name.partition(_SPEAKER_MARK)
        split = split or splits.get(name, "train" if splits else "")
        for column, cell in zip(columns.values(), (name, label, speaker if mark else "", split), strict=True):
            column.append(cell)
    if len(set(columns["label"])) < 2:
        return None
    return {name: cells for name, cells in columns.items() if name in ("audio", "label") or any(cells)}


def find_wake_word_label(within: Path, word: str) -> str | None:
    """Return the label of a clip in Precise's layout: the word, or `not-wake-word`; None for another layout.

    Args:
        within: path of the clip within the folder that was named, `test/wake-word/1.wav`.
    """
    for part in within.parts[:-1]:
        if part.lower() in WAKE_WORD_FOLDERS:
            return word if part.lower() == WAKE_WORD_FOLDERS[0] else WAKE_WORD_FOLDERS[1]
    return None


def _read_lines(path: Path) -> list[str]:
    return read_text(path).split() if path.is_file() else []
