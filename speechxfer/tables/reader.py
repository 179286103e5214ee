"""Reads CSV, TSV and JSON tables into columns of cells, with the line of each row.

Types are never inferred in CSV and TSV: speaker 0001 does not become 1.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechxfer.errors import Problems, UserError
from speechxfer.tables.column_names import COLUMN_ROLES, list_names
from speechxfer.tables.text_file import read_text

TABLE_SUFFIXES = {
    **{".csv": ",", ".tsv": "\t"},
    **dict.fromkeys((".jsonl", ".ndjson", ".json", ".manifest"), ""),
}
_DELIMITERS = (",", "\t", ";", "|")
_NAMES = {name.casefold() for name in list_names(*COLUMN_ROLES)}

csv.field_size_limit(2**31 - 1)  # long transcripts; a quote that is never closed is an error of its own


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        format: csv, tsv or jsonl.
        columns: cells by column name, in file order; strings in CSV and TSV, JSON values otherwise (None where a row
            lacks the key).
        lines: line number of each row, from 1 (of a row's last line where a cell has several).
    """

    path: Path
    format: str
    columns: dict[str, list[Any]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)


def read_table(
    path: Path, *, format: str | None = None, quoted: bool | None = None, names: Sequence[str] | None = None
) -> Table:
    """Read a table, by its suffix and its first line.

    The delimiter is the suffix's, unless only another one (comma, tab, semicolon, vertical bar) finds known column
    names in the header.

    Args:
        format: csv, tsv or jsonl (default: by the suffix).
        quoted: whether quotation marks enclose cells; None: in CSV always, in TSV if all of the file can be read so.
        names: column names of a table without a header.

    Raises:
        UserError: if the file is missing, not UTF-8 or empty, if rows do not fit the header, or if JSON is invalid.
    """
    return parse_table(path, read_text(path), format=format, quoted=quoted, names=names)


def parse_table(
    path: Path,
    text: str,
    *,
    format: str | None = None,
    quoted: bool | None = None,
    names: Sequence[str] | None = None,
) -> Table:
    """Parse the text of a table (see `read_table`). format: csv, tsv or jsonl (default: by the suffix)."""
    usual = {"csv": ",", "tsv": "\t", "jsonl": ""}[format] if format else TABLE_SUFFIXES.get(path.suffix.lower(), ",")
    if not usual:
        return _parse_json(path, text)
    if not text.strip():
        raise UserError("the table is empty", where=str(path), fix="write a header line and one row per utterance")
    delimiter = detect_delimiter(text, usual) if names is None else usual
    name = "tsv" if usual == "\t" else "csv"
    if quoted is None and delimiter == "\t":
        try:
            return _parse_delimited(path, text, delimiter, name, quoted=True, names=names)
        except UserError:  # quotation marks are ordinary characters, as in Common Voice's tables
            quoted = False
    return _parse_delimited(path, text, delimiter, name, quoted=quoted is not False, names=names)


def detect_delimiter(text: str, usual: str) -> str:
    """Return the usual delimiter, unless another one finds more known column names in the first line."""
    header = text.lstrip("\n\r").partition("\n")[0].strip("\r")

    def count_known(delimiter: str) -> int:
        return sum(cell.strip(' "').casefold() in _NAMES for cell in header.split(delimiter))

    best = max((usual, *_DELIMITERS), key=count_known)  # the first of equals: the usual one
    if count_known(best) or usual in header:
        return best
    return next((other for other in _DELIMITERS if other in header), usual)


def _parse_delimited(
    path: Path, text: str, delimiter: str, format: str, *, quoted: bool, names: Sequence[str] | None
) -> Table:
    rows = _iterate_rows(path, text, delimiter, quoted)
    header = list(names) if names is not None else [name.strip() for name in next(rows)[1]]
    if repeated := {name for name in header if name and header.count(name) > 1}:
        raise UserError(f"two columns are named '{min(repeated)}'", where=str(path), fix="rename one")
    fix = "quote cells that contain the delimiter" if quoted else "remove the delimiter from the cells"
    problems = Problems(f"{path}: rows that do not fit the header", fix=fix)
    columns: list[list[str]] = [[] for _ in header]
    lines: list[int] = []
    for line, cells in rows:
        if len(cells) != len(header):
            problems.add(f"line {line} has {len(cells)} cells, the header has {len(header)}")
            continue
        lines.append(line)
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    problems.raise_if_any()
    # a column without a name is pandas' index
    return Table(path, format, {n: column for n, column in zip(header, columns, strict=True) if n}, lines)


def _iterate_rows(path: Path, text: str, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of each row that is not blank, the header first."""
    lines = io.StringIO(text, newline="")
    if quoted:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        fix = "double the quotation marks inside a cell, and quote the cell"
        raise UserError(f"cannot be read ({error})", where=f"{path}:{reader.line_num}", fix=fix) from None


def _parse_json(path: Path, text: str) -> Table:
    """Parse JSON Lines, or one JSON array of objects."""
    first = text.lstrip().partition("\n")[0].strip()
    is_whole = first in ("[", "{") or first.startswith("[{")
    found = _parse_json_document(path, text) if is_whole else _parse_json_lines(path, text)
    if not found:
        raise UserError("the table is empty", where=str(path), fix="write one JSON object per line")
    names = list(dict.fromkeys(name for _, row in found for name in row))
    columns = {name: [row.get(name) for _, row in found] for name in names}
    return Table(path, "jsonl", columns, [line for line, _ in found])


def _parse_json_document(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    """Return (number of the item, object) of each item of an array."""
    fix = "write one JSON object per line, or one array of objects"
    try:
        items = json.loads(text, parse_constant=_read_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not JSON ({_explain(error)})", where=str(path), fix=fix) from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UserError("is JSON, but not an array of objects", where=str(path), fix=fix)
    return list(enumerate(items, start=1))


def _parse_json_lines(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    problems = Problems(f"{path}: lines that are not JSON objects", fix="write one JSON object per line: {...}")
    found: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        try:
            row = json.loads(line, parse_constant=_read_constant)
        except (ValueError, RecursionError) as error:
            problems.add(f"line {number}: {_explain(error)}")
            continue
        if not isinstance(row, dict):
            problems.add(f"line {number}: a {type(row).__name__} instead of an object")
        elif "\\u" in line and not _is_encodable(row):
            problems.add(f"line {number}: an unpaired surrogate (\\ud800 to \\udfff) is not a character")
        else:
            found.append((number, row))
    problems.raise_if_any()
    return found


def _read_constant(name: str) -> float | None:
    """Read NaN, which pandas writes for a missing value, as null."""
    return None if name == "NaN" else float(name)


def _explain(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return getattr(error, "msg", None) or str(error).partition(";")[0]


def _is_encodable(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
