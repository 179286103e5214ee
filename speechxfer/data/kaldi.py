"""Kaldi data folders (kaldi-asr.org/doc/data_prep.html): wav.scp, text, utt2spk, segments. Nothing is run."""

from __future__ import annotations

import re
from pathlib import Path

from speechxfer.data.tables import Columns, read_utf8
from speechxfer.errors import Problems, UserError

_ARCHIVE = re.compile(r"\.ark:\d+(\[.*\])?$")


def read_kaldi_dir(folder: Path) -> tuple[Path, Columns]:
    """(what the paths are relative to, columns) of a Kaldi data folder.

    Paths in wav.scp are relative to wherever a Kaldi recipe was run: the first of the data folder, the two above it
    and the working folder under which the first file lies. Raises UserError for piped commands (which are never run),
    archives, and files that speak of different utterances.
    """
    scp = folder / "wav.scp"
    recordings = _pairs(scp)
    problems = Problems(f"{scp}: not plain files", fix="write the audio out first, and name the files here")
    for line, (name, value) in enumerate(recordings.items(), 1):
        if value.endswith("|") or value.startswith("|"):
            problems.add(f"entry {line} ({name}) is a piped command, which is never run: {value[:60]}")
        elif _ARCHIVE.search(value):
            problems.add(f"entry {line} ({name}) is in a Kaldi archive: {value[:60]}")
        elif not value:
            problems.add(f"entry {line} ({name}) names no file")
    problems.raise_if_any()
    columns: Columns = {"id": list(recordings), "audio": list(recordings.values())}
    if (folder / "segments").is_file():
        columns = _segments(folder / "segments", recordings)
    _beside(folder, columns)
    first = next(iter(recordings.values()), "")
    places = (folder, folder.parent, folder.parent.parent, Path())
    return next((place for place in places if (place / first).is_file()), folder), columns


def _beside(folder: Path, columns: Columns) -> None:
    """Add what text, utt2spk and the speaker files say."""
    names, known = columns["id"], set(columns["id"])
    for file, column in (("text", "text"), ("utt2spk", "speaker")):
        if not (folder / file).is_file():
            continue
        values = _pairs(folder / file)
        unknown = [name for name in values if name not in known]
        if unknown:
            problem = f"{len(unknown)} utterances have no audio: {', '.join(unknown[:5])}"
            raise UserError(problem, where=str(folder / file), fix="utils/fix_data_dir.sh, or mend the ids")
        columns[column] = [values.get(name, "") for name in names]
    for file, column in (("spk2gender", "gender"), ("spk2age", "age"), ("spk2accent", "accent")):
        if (folder / file).is_file() and "speaker" in columns:
            values = _pairs(folder / file)
            columns[column] = [values.get(speaker, "") for speaker in columns["speaker"]]


def _segments(path: Path, recordings: dict[str, str]) -> Columns:
    """`<utterance> <recording> <start> <end>`; an end of -1 is the recording's own."""
    columns: Columns = {name: [] for name in ("id", "audio", "start", "end")}
    problems = Problems(f"{path}: segments that cannot be used")
    for line, (name, value) in enumerate(_pairs(path).items(), 1):
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


def _pairs(path: Path) -> dict[str, str]:
    """A Kaldi file's first words to the rest of their lines. Raises UserError where one stands twice."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        if not line.strip():
            continue
        name, *rest = line.split(maxsplit=1)
        if name in pairs:
            raise UserError(f"line {number}: '{name}' stands twice", where=str(path), fix="keep one of the two")
        pairs[name] = rest[0].strip() if rest else ""
    return pairs
