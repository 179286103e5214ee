"""Reads DATA in any format as one `datasets.Dataset` of utterances."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from speechxfer.data.class_folders import BACKGROUND_FOLDER
from speechxfer.data.corpus_folders import AUDIO_SUFFIXES
from speechxfer.data.formats import detect_format
from speechxfer.data.labels import clean_labels
from speechxfer.data.parquet import read_parquet, read_saved_dataset
from speechxfer.data.paths import encode_path, make_printable
from speechxfer.data.roles import rename_to_roles
from speechxfer.data.tables import Columns
from speechxfer.errors import Problems, UserError, suggest_nearest
from speechxfer.tables import map_columns

WarningCallback = Callable[[str], None]


def warn_user(message: str) -> None:
    """Issue a Python warning (the default of functions that take a `WarningCallback`)."""
    warnings.warn(message, UserWarning, stacklevel=3)


def read(
    source: str | Path,
    *,
    need: Collection[str] = (),
    columns: Mapping[str, str] | None = None,
    on_warning: WarningCallback = warn_user,
) -> datasets.Dataset:
    """Read the utterances of DATA: columns `id`, `audio` (as in the table), `path` (absolute, "" if embedded), ...

    `bytes` holds embedded audio, `start` and `end` are seconds or None; all other columns of a table are strings.
    `id` defaults to `audio` (relative to the table), with `#start-end` if there is a span; duplicate ids are made
    unique. Rows keep their order; messages count them from 1. Columns under other names that
    `speechxfer.tables.COLUMN_ROLES` lists get their canonical name.

    Args:
        need: required columns.
        columns: kind of column to its name in DATA, e.g. `{"audio": "file", "text": "sentence"}`.
        on_warning: called with a message about duplicate ids, or labels with invisible differences (`clean_labels`).

    Raises:
        UserError: if DATA is missing or empty, or if `audio`, a required or a named column is missing.
    """
    where = make_printable(source)
    found = detect_format(source)
    if found.parquet:
        dataset = read_parquet(found.parquet, found.folder, where, columns)
    elif found.saved is not None:
        dataset = read_saved_dataset(found.saved, where, columns)
    else:
        dataset = _from_columns(found.columns, found.folder, where, columns)
    if not len(dataset):
        raise UserError("has no rows", where=where, fix="write one row per utterance below the header")
    for name in need:
        if name not in dataset.column_names:
            raise make_missing_column_error(name, dataset.column_names, where)
    dataset = _make_ids_unique(dataset, found.folder, where, on_warning)
    if "label" in found.columns and (found.folder / BACKGROUND_FOLDER).is_dir():
        on_warning(f"{where}: {BACKGROUND_FOLDER} is noise, not a class: it is left out")
    if "label" in dataset.column_names:
        dataset, changes = clean_labels(dataset, "label")
        for change in changes:
            on_warning(f"{where}: {change}")
    return dataset


def make_missing_column_error(name: str, columns: Iterable[str], where: str) -> UserError:
    """Return the error for a missing column."""
    known = [column for column in columns if column not in ("path", "bytes")]  # `read` adds these
    if any(Path(column).suffix.lower() in AUDIO_SUFFIXES for column in known):
        fix = "write a first line with the names of the columns, e.g. audio,text"
        return UserError(f"has no header: its first line is {', '.join(known)}", where=where, fix=fix)
    described = "the paths of the audio files" if name == "audio" else f"the {name}"
    return UserError(
        f"has no column '{name}'{suggest_nearest(name, known)}; its columns are {', '.join(known)}",
        where=where,
        fix=f"name the column with {described}: --column {name}=NAME, in a recipe data.columns={{{name}: NAME}}",
    )


def list_duplicate_ids(ids: Iterable[str]) -> dict[str, list[int]]:
    """Return the ids that occur more than once, with their rows (counted from 1)."""
    rows: dict[str, list[int]] = {}
    for number, name in enumerate(ids, 1):
        rows.setdefault(name, []).append(number)
    return {name: numbers for name, numbers in rows.items() if len(numbers) > 1}


def make_unique(names: Iterable[str]) -> list[str]:
    """Return the names with `-2`, `-3`, ... after the second, third, ... occurrence of a name."""
    given = list(names)
    used, count, unique = set(given), Counter[str](), []
    for name in given:
        count[name] += 1
        new = name
        while count[name] > 1 and new in used:
            new = f"{name}-{count[name]}"
            count[name] += new in used
        used.add(new)
        unique.append(new)
    return unique


def _make_ids_unique(
    dataset: datasets.Dataset, folder: Path, where: str, on_warning: WarningCallback
) -> datasets.Dataset:
    """Replace duplicate ids: by the names of the audio if those are unique, else by a number after the id."""
    ids = list(dataset["id"])
    duplicates = list_duplicate_ids(ids)
    if not duplicates:
        return dataset
    audio = _shorten_absolute_paths(list(dataset["audio"]), folder)
    spans = (dataset[name] if name in dataset.column_names else [None] * len(ids) for name in ("start", "end"))
    unique = [_make_id(*row) for row in zip(audio, *spans, range(1, len(ids) + 1), strict=True)]
    treatment = "the audio's name is used instead"
    if len(set(unique)) < len(unique):
        unique, treatment = make_unique(ids), "a number is added to the second and later ones"
    name, rows = next(iter(duplicates.items()))
    count = "1 id occurs" if len(duplicates) == 1 else f"{len(duplicates)} ids occur"
    example = f"'{name}' in rows {', '.join(map(str, rows[:5]))}"
    on_warning(f"{where}: {count} more than once, e.g. {example}: {treatment}")
    table = dataset.data.table
    table = table.set_column(table.column_names.index("id"), "id", pa.array(unique, pa.string()))
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint=f"{dataset._fingerprint}-unique")


def _from_columns(columns: Columns, folder: Path, where: str, chosen: Mapping[str, str] | None) -> datasets.Dataset:
    roles = map_columns(columns, chosen, where)
    if "audio" not in roles:
        raise make_missing_column_error("audio", columns, where)
    renames = rename_to_roles(roles, columns)
    columns = {renames.get(name, name): cells for name, cells in columns.items()}
    _add_ends(columns, roles)
    columns["path"] = [_resolve(folder, audio) for audio in columns["audio"]]
    _parse_spans(columns, where)
    columns["id"] = _make_ids(columns, folder)
    first = ("id", "audio", "path")
    return datasets.Dataset.from_dict(
        {name: columns[name] for name in (*first, *(c for c in columns if c not in first))}
    )


def _resolve(folder: Path, audio: str) -> str:
    return encode_path((folder / audio.strip()).absolute()) if audio.strip() else ""


def _add_ends(columns: Columns, roles: Mapping[str, str]) -> None:
    """Add the end of segments that are given by start and duration, as in NeMo's manifests."""
    if "start" not in columns or "end" in columns or "duration" not in roles:
        return
    columns["end"] = [
        _add(start, length) if str(start).strip() and str(length).strip() else ""
        for start, length in zip(columns["start"], columns[roles["duration"]], strict=True)
    ]


def _add(start: str, length: str) -> str:
    try:
        return f"{float(start) + float(length):.10g}"
    except ValueError:
        return length  # `_parse_spans` names what is not a number


def _parse_spans(columns: Columns, where: str) -> None:
    """Convert `start` and `end` to float or None, in place."""
    problems = Problems(f"{where}: start and end must be seconds", fix="write 1.5, or leave the cell empty")
    for name in ("start", "end"):
        if name in columns:
            columns[name] = [_parse_seconds(value, name, row, problems) for row, value in enumerate(columns[name], 1)]
    problems.raise_if_any()


def _parse_seconds(value: Any, name: str, row: int, problems: Problems) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        problems.add(f"row {row}: {name} is '{value}'")
        return None
    return number


def _make_ids(columns: Columns, folder: Path) -> list[str]:
    rows = len(columns["audio"])
    named = columns.get("id", [""] * rows)
    starts, ends = (columns.get(name, [None] * rows) for name in ("start", "end"))
    audio = _shorten_absolute_paths(columns["audio"], folder)
    return [
        name or _make_id(audio, start, end, row)
        for row, (name, audio, start, end) in enumerate(zip(named, audio, starts, ends, strict=True), 1)
    ]


def _shorten_absolute_paths(audio: list[str], folder: Path) -> list[str]:
    """Return absolute paths relative to the table's folder, or else to their deepest common folder."""
    absolute = [Path(path) for path in audio if path.startswith(("/", "\\")) or path[1:2] == ":"]
    absolute = [path for path in absolute if path.is_absolute()]
    if not absolute:
        return audio
    base = str(folder.absolute())
    if any(not path.is_relative_to(base) for path in absolute):
        base = os.path.commonpath([path.parent for path in absolute])
    return [Path(path).relative_to(base).as_posix() if Path(path).is_absolute() else path for path in audio]


def _make_id(audio: str, start: float | None, end: float | None, row: int) -> str:
    if not audio:
        return f"row {row}"
    if start is None and end is None:
        return audio
    return f"{audio}#{start or 0:.10g}-{'' if end is None else f'{end:.10g}'}"
