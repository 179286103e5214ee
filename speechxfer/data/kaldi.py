"""Kaldi data folders (kaldi-asr.org/doc/data_prep.html): wav.scp, text, utt2spk, segments. No command is executed."""

from __future__ import annotations

import re
from pathlib import Path

from speechxfer.data.tables import Columns
from speechxfer.errors import Problems, UserError
from speechxfer.tables.text_file import read_text

_ARCHIVE = re.compile(r"\.ark:\d+(\[.*\])?$")


def read_kaldi_dir(folder: Path) -> tuple[Path, Columns]:
    """Read a Kaldi data folder: the base of its paths, and its columns.

    Paths in wav.scp are relative to the folder from which the Kaldi recipe was run: the first of the data folder, the
    two above it and the working folder that holds the first file.
    Raises: UserError for piped commands (which are never executed), archives, and files with different utterances.
    """
    scp = folder / "wav.scp"
    recordings = _read_pairs(scp)
    problems = Problems(f"{scp}: entries that are not plain files", fix="write the audio to files and name them here")
    for line, (name, value) in enumerate(recordings.items(), 1):
        if value.endswith("|") or value.startswith("|"):
            problems.add(f"entry {line} ({name}) is a piped command, which is never executed: {value[:60]}")
        elif _ARCHIVE.search(value):
            problems.add(f"entry {line} ({name}) is in a Kaldi archive: {value[:60]}")
        elif not value:
            problems.add(f"entry {line} ({name}) names no file")
    problems.raise_if_any()
    columns: Columns = {"id": list(recordings), "audio": list(recordings.values())}
    if (folder / "segments").is_file():
        columns = _read_segments(folder / "segments", recordings)
    _add_columns(folder, columns)
    first = next(iter(recordings.values()), "")
    places = (folder, folder.parent, folder.parent.parent, Path())
    return next((place for place in places if (place / first).is_file()), folder), columns


def _add_columns(folder: Path, columns: Columns) -> None:
    """Add the columns of text, utt2spk and the speaker files."""
    names, known = columns["id"], set(columns["id"])
    for file, column in (("text", "text"), ("utt2spk", "speaker")):
        if not (folder / file).is_file():
            continue
        values = _read_pairs(folder / file)
        unknown = [name for name in values if name not in known]
        if unknown:
            more = ", …" if len(unknown) > 5 else ""
            problem = f"{len(unknown)} ids are not in wav.scp or segments: {', '.join(unknown[:5])}{more}"
            raise UserError(problem, where=str(folder / file), fix="run utils/fix_data_dir.sh, or correct the ids")
        columns[column] = [values.get(name, "") for name in names]
    for file, column in (("spk2gender", "gender"), ("spk2age", "age"), ("spk2accent", "accent")):
        if (folder / file).is_file() and "speaker" in columns:
            values = _read_pairs(folder / file)
            columns[column] = [values.get(speaker, "") for speaker in columns["speaker"]]


def _read_segments(path: Path, recordings: dict[str, str]) -> Columns:
    """Read lines of `<utterance> <recording> <start> <end>`; an end of -1 is the end of the recording."""
    columns: Columns = {name: [] for name in ("id", "audio", "start", "end")}
    problems = Problems(f"{path}: segments that cannot be used")
    for line, (name, value) in enumerate(_read_pairs(path).items(), 1):
        cells = value.split()
        if len(cells) != 3:
            problems.add(f"entry {line} ({name}): expected '<utterance> <recording> <start> <end>'")
        elif cells[0] not in recordings:
            problems.add(f"entry {line} ({name}): wav.scp has no recording '{cells[0]}'")
        else:
            end = "" if cells[2] in ("-1", "-1.0") else cells[2]
            for column, cell in zip(columns.values(), (name, recordings[cells[0]], cells[1], end), strict=True):
                column.append(cell)
    problems.raise_if_any()
    return columns


def _read_pairs(path: Path) -> dict[str, str]:
    """Map the first word of each line to the rest of the line. Raises UserError for a duplicate."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        name, *rest = line.split(maxsplit=1)
        if name in pairs:
            raise UserError(f"line {number}: duplicate '{name}'", where=str(path), fix="keep one of the two")
        pairs[name] = rest[0].strip() if rest else ""
    return pairs
