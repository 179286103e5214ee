"""Read positive and negative recordings from a folder, a list or a table, and split them.

A row is a dict as `speechxfer.data.reader` returns it: `id`, `audio`, `path` or `bytes`, and optionally `start`, `end`,
`speaker`, `label` and `text`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.data.audio import load_waveform, measure_audio
from speechxfer.data.class_folders import find_wake_word_label
from speechxfer.data.corpus_folders import AUDIO_SUFFIXES, find_audio_files
from speechxfer.data.parallel import count_cpus
from speechxfer.data.paths import encode_path, make_printable
from speechxfer.errors import Problems, UserError

ClipRow = dict[str, Any]

MIN_WORD_SECONDS = 0.2  # s, shortest plausible word
_LIST_SUFFIXES = {".txt", ".lst", ".list"}
_TABLE_FILES = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "wav.scp")


@dataclass
class ClipRows:
    """Rows of one source of positives. other_words: rows whose `label` is another word."""

    rows: list[ClipRow]
    other_words: list[ClipRow] = field(default_factory=list)


def read_rows(source: Path | str, columns: Mapping[str, str] | None = None) -> list[ClipRow]:
    """Return the rows of a folder of audio files (searched recursively), an audio file, a list of paths, or DATA.

    columns: kind of column to its name in DATA, as of `speechxfer.data.reader.read`.
    Raises: UserError if the source does not exist, is empty or cannot be read.
    """
    path = Path(source)
    rows = None
    if path.is_dir():
        rows = _read_audio_dir(path, str(source))
    elif path.suffix.lower() in _LIST_SUFFIXES:
        rows = _read_path_list(path, str(source))
    elif path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
        rows = [_make_row(path.name, path)]
    if rows is not None:
        return rows
    from speechxfer.data.reader import read

    return [dict(row) for row in read(source, columns=columns)]


def read_positives(source: Path | str, word: str, columns: Mapping[str, str] | None = None) -> ClipRows:
    """Return the clips that contain the word once; if there is a `label`, only the rows labelled with the word.

    The folders `wake-word` and `not-wake-word` (Mycroft Precise), or a folder named by the word next to others, are
    labels too.

    Raises: UserError if no row has the word as its label.
    """
    rows = read_rows(source, columns)
    if Path(source).is_dir() and not any("label" in row for row in rows):
        rows = _label_by_folder(rows, word)
    if not any("label" in row for row in rows):
        return ClipRows(rows)
    matching = [row for row in rows if is_same_word(str(row.get("label", "")), word)]
    if not matching:
        labels = sorted({str(row.get("label", "")) for row in rows})
        raise UserError(
            f"no row has the label '{word}'; the labels are {', '.join(labels[:10])}",
            where=str(source),
            fix="write the word as in the table, or remove the label column",
        )
    return ClipRows(matching, [row for row in rows if not is_same_word(str(row.get("label", "")), word)])


def split_by_word(rows: Iterable[ClipRow], word: str) -> tuple[list[ClipRow], list[ClipRow]]:
    """Split into rows that contain the word according to their `label` or `text`, and the others."""
    with_word: list[ClipRow] = []
    without_word: list[ClipRow] = []
    for row in rows:
        (with_word if row_holds_word(row, word) else without_word).append(row)
    return with_word, without_word


def row_holds_word(row: ClipRow, word: str) -> bool:
    """Return whether the `label` or `text` of a row contains the word, or its folder is Precise's `wake-word`."""
    if not row.get("label") and find_wake_word_label(Path(str(row.get("audio") or "")), word) == word:
        return True
    return is_same_word(str(row.get("label") or ""), word) or holds_word(str(row.get("text") or ""), word)


def is_same_word(label: str, word: str) -> bool:
    """Return whether a label is the word, ignoring case, hyphens and spaces."""
    return "".join(_split_words(label)) == "".join(_split_words(word))


def holds_word(text: str, word: str) -> bool:
    """Return whether a text contains the word."""
    return f" {' '.join(_split_words(word))} " in f" {' '.join(_split_words(text))} "


def load_waveforms(rows: Sequence[ClipRow]) -> Iterator[np.ndarray]:
    """Yield the waveform of every row, (time,) float32 at 16 kHz each.

    Raises: UserError at the first recording that cannot be read, naming the others after it, too.
    """
    for number, row in enumerate(rows):
        try:
            waveform = load_waveform(row)
        except UserError as error:
            raise _name_unreadable(error, rows[number + 1 :]) from None
        yield waveform


def _name_unreadable(first: UserError, others: Sequence[ClipRow]) -> UserError:
    """Return the first error, or one that also lists the errors of the other rows, which are all decoded."""

    def find_error(row: ClipRow) -> UserError | None:
        try:
            measure_audio(row)
        except UserError as error:
            return error
        return None

    with ThreadPoolExecutor(count_cpus()) as pool:
        errors = [error for error in pool.map(find_error, others) if error is not None]
    if not errors:
        return first
    problems = Problems("some recordings cannot be read", fix="copy them again, or leave them out")
    for error in (first, *errors):
        problems.add(f"{error.where}: {error.problem}")
    try:
        problems.raise_if_any()
    except UserError as error:
        return error
    return first


def check_clips(
    rows: Sequence[ClipRow], energies: Sequence[np.ndarray], where: str, *, min_seconds: float = MIN_WORD_SECONDS
) -> None:
    """Check that every positive is audible and at least `min_seconds` (duration of the word) long.

    Raises: UserError naming every clip that is not.
    """
    min_seconds = max(min_seconds, MIN_WORD_SECONDS)
    problems = Problems(f"{where}: clips that cannot contain the word", fix="remove them, or record them again")
    for row, frames in zip(rows, energies, strict=True):
        if len(frames) < 100 * min_seconds:
            problems.add(f"{row['audio']}: {len(frames) / 100:.2f} s, but the word takes at least {min_seconds:.2f} s")
        elif float(frames.sum(axis=1).max()) < 1e-4:
            problems.add(f"{row['audio']}: silence")
    problems.raise_if_any()


def find_speech_bounds(energies: np.ndarray) -> tuple[int, int]:
    """Return the first frame and the last frame plus one of the loudest segment, bridging pauses under 0.25 s.

    Frames count as sound above a level between the quiet and the loudest frames in dB. For steady noise the segment is
    the whole clip. energies: (frames, NUM_MELS).
    """
    if not len(energies):
        return 0, 0
    level = 10 * np.log10(np.convolve(energies.sum(axis=1), np.ones(5) / 5, "same") + 1e-7)
    quiet, loud = np.percentile(level, 10), level.max()
    if loud - quiet < 6:
        return 0, len(energies)
    above = np.flatnonzero(level > quiet + 0.4 * (loud - quiet))
    segments = np.split(above, np.flatnonzero(np.diff(above) > 25) + 1)
    power = energies.sum(axis=1)
    loudest = max(segments, key=lambda segment: float(power[segment[0] : segment[-1] + 1].sum()))
    return int(loudest[0]), int(loudest[-1]) + 1


def hash_to_share(name: str, *, salt: str = "") -> float:
    """Map a name to a number in [0, 1) by a stable hash, used to hold out rows and to assign folds."""
    return int.from_bytes(hashlib.sha256(f"{salt}{name}".encode()).digest()[:8], "big") / 2**64


def split_held_out(rows: Sequence[ClipRow], share: float, *, salt: str = "") -> tuple[list[ClipRow], list[ClipRow]]:
    """Split into rows to train on and held-out rows, by a stable hash of the speaker if all are known, else of the id.

    salt: selects another split.
    """
    by_speaker = all(row.get("speaker") for row in rows) and len({row.get("speaker") for row in rows}) > 1
    train: list[ClipRow] = []
    held_out: list[ClipRow] = []
    for row in rows:
        name = str(row["speaker" if by_speaker else "id"])
        (held_out if hash_to_share(name, salt=salt) < share else train).append(row)
    return train, held_out


def _read_audio_dir(path: Path, where: str) -> list[ClipRow] | None:
    """Return the rows of a folder of audio files, or None if it contains a table or other files."""
    if any((path / name).exists() for name in _TABLE_FILES):
        return None
    files = find_audio_files(path)
    if files:
        return [_make_row(p.relative_to(path).as_posix(), p) for p in files]
    if not any(path.iterdir()):
        raise UserError("the folder is empty", where=where, fix="put audio files there")
    return None


def _label_by_folder(rows: list[ClipRow], word: str) -> list[ClipRow]:
    """Give clips the label of their folder if there are folders of words, else none."""
    labels = [find_wake_word_label(Path(row["audio"]), word) or "" for row in rows]
    if not any(labels):
        folders = [Path(row["audio"]).parent.name for row in rows]
        if len(set(folders)) < 2 or not any(is_same_word(name, word) for name in folders if name):
            return rows
        labels = folders
    return [row | {"label": label} for row, label in zip(rows, labels, strict=True)]


def _read_path_list(path: Path, where: str) -> list[ClipRow]:
    """Return the rows of a file with one path per line, relative to its folder."""
    if not path.is_file():
        raise UserError("no such file", where=where)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"cannot be read as a list ({error})", where=where, fix="save it as UTF-8 text") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError("the list is empty", where=where, fix="write one path per line")
    return [_make_row(line, path.parent / line) for line in lines]


def _make_row(name: str, path: Path) -> ClipRow:
    shown = make_printable(name)
    return {"id": shown, "audio": shown, "path": encode_path(path.absolute()), "speaker": ""}


def _split_words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.casefold())
