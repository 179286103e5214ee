"""Recordings for a detector: positives and negatives from a folder, a list or a table; who is held out; who says it.

A row is a dict as `speechxfer.data.reader` makes it: `id`, `audio`, `path` or `bytes`, and where known `start`, `end`,
`speaker`, `label`, `text`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.data.audio import load_waveform
from speechxfer.errors import Problems, UserError
from speechxfer.wakeword.runtime.features import compute_mel_energies

Row = dict[str, Any]

MIN_WORD_SECONDS = 0.2  # s: less is no word
_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".webm", ".aac", ".aiff"}
_LISTS = {".txt", ".lst", ".list"}


@dataclass
class ClipRows:
    """Rows of one source. others: rows of a table of positives whose `label` is another word."""

    rows: list[Row]
    other_words: list[Row] = field(default_factory=list)


def read_rows(source: Path | str) -> list[Row]:
    """Rows of a folder of audio files (any depth), a list of paths (.txt), or DATA. Raises UserError."""
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
        tables = [
            name for name in ("metadata.csv", "metadata.tsv", "metadata.jsonl", "wav.scp") if (path / name).exists()
        ]
        if files and not tables:
            return [_row(p.relative_to(path).as_posix(), p) for p in files]
        if not tables and not any(path.iterdir()):
            raise UserError("the folder is empty", where=str(source), fix="put audio files there")
    elif path.suffix.lower() in _LISTS:
        if not path.is_file():
            raise UserError("no such file", where=str(source))
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if not lines:
            raise UserError("the list is empty", where=str(source), fix="write one path a line")
        return [_row(line, path.parent / line) for line in lines]
    elif path.suffix.lower() in _SUFFIXES and path.is_file():
        return [_row(path.name, path)]
    from speechxfer.data.reader import read

    return [dict(row) for row in read(source)]


def read_positives(source: Path | str, word: str) -> ClipRows:
    """Clips that hold the word once; where there is a `label`, only the word's rows. Raises UserError for none."""
    rows = read_rows(source)
    if not any("label" in row for row in rows):
        return ClipRows(rows)
    of_word = [row for row in rows if is_same_word(str(row.get("label", "")), word)]
    if not of_word:
        labels = sorted({str(row.get("label", "")) for row in rows})
        raise UserError(
            f"no row has the label '{word}'; its labels are {', '.join(labels[:10])}",
            where=str(source),
            fix="say the word as the table does, or take the label column out",
        )
    return ClipRows(of_word, [row for row in rows if not is_same_word(str(row.get("label", "")), word)])


def split_by_word(rows: Iterable[Row], word: str) -> tuple[list[Row], list[Row]]:
    """Rows that hold the word by their `label` or `text`, and the others."""
    contaminated: list[Row] = []
    without: list[Row] = []
    for row in rows:
        says = is_same_word(str(row.get("label") or ""), word) or holds_word(str(row.get("text") or ""), word)
        (contaminated if says else without).append(row)
    return contaminated, without


def is_same_word(label: str, word: str) -> bool:
    """Whether a label names the word, whatever its case, hyphens and spaces."""
    return _letters(label) == _letters(word)


def holds_word(text: str, word: str) -> bool:
    """Whether a text says the word."""
    return f" {' '.join(_words(word))} " in f" {' '.join(_words(text))} "


def load_energies(row: Row) -> np.ndarray:
    """(frames, MELS) energies of a row's audio. Raises UserError naming it."""
    return compute_mel_energies(load_waveform(row))


def check_clips(
    rows: Sequence[Row], energies: Sequence[np.ndarray], where: str, *, least: float = MIN_WORD_SECONDS
) -> None:
    """Raise UserError naming every positive that holds no sound or is shorter than the word, which takes `least` s."""
    least = max(least, MIN_WORD_SECONDS)
    problems = Problems(f"{where}: clips that cannot hold the word", fix="take them out, or record them again")
    for row, frames in zip(rows, energies, strict=True):
        if len(frames) < 100 * least:
            problems.add(f"{row['audio']}: {len(frames) / 100:.2f} s, and the word takes {least:.2f} s at the quickest")
        elif float(frames.sum(axis=1).max()) < 1e-4:
            problems.add(f"{row['audio']}: silence")
    problems.raise_if_any()


def find_speech_bounds(energies: np.ndarray) -> tuple[int, int]:
    """First and last-plus-one frame of the loudest stretch of sound; pauses under 0.25 s are within it.

    Sound is what stands above the middle, in dB, between the quiet and the loudest frames. Steady noise gives the
    whole clip.
    """
    if not len(energies):
        return 0, 0
    level = 10 * np.log10(np.convolve(energies.sum(axis=1), np.ones(5) / 5, "same") + 1e-7)
    quiet, loud = np.percentile(level, 10), level.max()
    if loud - quiet < 6:
        return 0, len(energies)
    up = np.flatnonzero(level > quiet + 0.4 * (loud - quiet))
    groups = np.split(up, np.flatnonzero(np.diff(up) > 25) + 1)
    power = energies.sum(axis=1)
    best = max(groups, key=lambda group: float(power[group[0] : group[-1] + 1].sum()))
    return int(best[0]), int(best[-1]) + 1


def hash_to_share(name: str, *, salt: str = "") -> float:
    """A number in 0 to 1 that is always the same for a name: by it rows are held out, and folds made."""
    return int.from_bytes(hashlib.sha256(f"{salt}{name}".encode()).digest()[:8], "big") / 2**64


def split_held_out(rows: Sequence[Row], share: float, *, salt: str = "") -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows held out: whole speakers where all are known, else by a stable hash of the id.

    Another salt is another choice.
    """
    by_speaker = all(row.get("speaker") for row in rows) and len({row.get("speaker") for row in rows}) > 1
    train: list[Row] = []
    held: list[Row] = []
    for row in rows:
        name = str(row["speaker" if by_speaker else "id"])
        (held if hash_to_share(name, salt=salt) < share else train).append(row)
    return train, held


def _row(name: str, path: Path) -> Row:
    return {"id": name, "audio": name, "path": str(path.absolute()), "speaker": ""}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.casefold())


def _letters(text: str) -> str:
    return "".join(_words(text))
