"""Reads DATA in any format as one `datasets.Dataset` of utterances."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import datasets

from speechxfer.data.formats import detect_format, normalise_column_name
from speechxfer.data.parquet import read_parquet
from speechxfer.data.tables import Columns
from speechxfer.errors import Problems, UserError, suggest_nearest


def read(source: str | Path, *, need: Collection[str] = (), unique: bool = True) -> datasets.Dataset:
    """Read the utterances of DATA: columns `id`, `audio` (as in the table), `path` (absolute, "" if embedded), ...

    `bytes` holds embedded audio, `start` and `end` are seconds or None; all other columns of a table are strings.
    `id` defaults to `audio`, with `#start-end` if there is a span. Rows keep their order; messages count them from 1.

    need: required columns. unique: if False, duplicate ids are accepted (`check` reports them itself).
    Raises: UserError if DATA is missing or empty, if `audio` or a required column is missing, or if ids are duplicate.
    """
    where = str(source)
    found = detect_format(source)
    if found.parquet:
        dataset = read_parquet(found.parquet, found.folder, where)
    else:
        dataset = _from_columns(found.columns, found.folder, where)
    if not len(dataset):
        raise UserError("has no rows", where=where, fix="write one row per utterance below the header")
    for name in need:
        if name not in dataset.column_names:
            raise make_missing_column_error(name, dataset.column_names, where)
    if unique:
        find_duplicate_ids(dataset["id"], where).raise_if_any()
    return dataset


def find_duplicate_ids(ids: Iterable[str], where: str) -> Problems:
    """Collect the duplicate ids with their rows (counted from 1)."""
    problems = Problems(f"{where}: duplicate ids", fix="give each utterance its own 'id' (or its own audio or span)")
    rows: dict[str, list[int]] = {}
    for number, name in enumerate(ids, 1):
        rows.setdefault(name, []).append(number)
    for name, numbers in rows.items():
        if len(numbers) > 1:
            problems.add(f"'{name}' in rows {', '.join(map(str, numbers[:10]))}{', …' if len(numbers) > 10 else ''}")
    return problems


def _from_columns(columns: Columns, folder: Path, where: str) -> datasets.Dataset:
    if "audio" not in columns:
        raise make_missing_column_error("audio", columns, where)
    columns["path"] = [_resolve(folder, audio) for audio in columns["audio"]]
    _parse_spans(columns, where)
    columns["id"] = _make_ids(columns)
    first = ("id", "audio", "path")
    return datasets.Dataset.from_dict(
        {name: columns[name] for name in (*first, *(c for c in columns if c not in first))}
    )


def make_missing_column_error(name: str, columns: Iterable[str], where: str) -> UserError:
    """Return the error for a missing column; a column with another known name for it is suggested."""
    known = [column for column in columns if name == "audio" or column not in ("path", "bytes")]  # `read` adds these
    described = f"the column that holds the {'paths of the audio files' if name == 'audio' else name}"
    alias = next((f"'{column}'" for column in known if normalise_column_name(column) == name), described)
    return UserError(
        f"has no column '{name}'{suggest_nearest(name, known)}; its columns are {', '.join(known)}",
        where=where,
        fix=f"rename {alias} to '{name}'",
    )


def _resolve(folder: Path, audio: str) -> str:
    return str((folder / audio.strip()).absolute()) if audio.strip() else ""


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


def _make_ids(columns: Columns) -> list[str]:
    rows = len(columns["audio"])
    named = columns.get("id", [""] * rows)
    starts, ends = (columns.get(name, [None] * rows) for name in ("start", "end"))
    return [
        name or _make_id(audio, start, end, row)
        for row, (name, audio, start, end) in enumerate(zip(named, columns["audio"], starts, ends, strict=True), 1)
    ]


def _make_id(audio: str, start: float | None, end: float | None, row: int) -> str:
    if not audio:
        return f"row {row}"
    if start is None and end is None:
        return audio
    return f"{audio}#{start or 0:.10g}-{'' if end is None else f'{end:.10g}'}"
