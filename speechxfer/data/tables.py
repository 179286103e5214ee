"""CSV, TSV and JSONL tables as columns of strings; errors name the line.

Types are never inferred: speaker 0001 does not become 1.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechxfer.errors import Problems, UserError

TABLE_DELIMITERS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}
Columns = dict[str, list[Any]]

csv.field_size_limit(10_000_000)  # for long transcripts; unclosed quotes are detected by `strict`


def read_table(path: Path, audio_names: Collection[str] = ("audio",), *, quoted: bool = True) -> Columns:
    """Read the columns of a table; every cell is a string ("" if missing).

    audio_names: names of the audio column; the delimiter that finds one of them in the header is used (e.g. semicolon).
    quoted: if False, quotation marks are text (Common Voice's TSV).
    Raises: UserError if the table is missing, empty or not UTF-8, if a row's length differs from the header's, or if
    JSON is invalid.
    """
    text = read_utf8(path)
    if not text.strip():
        raise UserError("the table is empty", where=str(path), fix="write a header line and one row per utterance")
    if TABLE_DELIMITERS.get(path.suffix.lower()) == "":
        return _parse_jsonl(path, text)
    return _parse_delimited(path, text, audio_names, quoted)


def read_utf8(path: Path) -> str:
    """Read a UTF-8 file, with or without BOM. Raises UserError naming the first line that is not UTF-8."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", where=str(path)) from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError("is UTF-16, not UTF-8", where=str(path), fix="save it as 'CSV UTF-8'")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, bad = data[: error.start].count(b"\n") + 1, data[error.start]
        raise UserError(
            f"is not UTF-8: line {line} holds the byte 0x{bad:02x}",
            where=str(path),
            fix=f"iconv -f WINDOWS-1252 -t UTF-8 '{path.name}' (if that is its encoding), or save it as 'CSV UTF-8'",
        ) from None


def _parse_delimited(path: Path, text: str, audio_names: Collection[str], quoted: bool) -> Columns:
    delimiter = _detect_delimiter(path, text, audio_names)
    problems = Problems(f"{path}: rows that do not fit the header", fix="quote cells that hold the delimiter")
    rows = _iter_rows(path, text, delimiter, quoted)
    _, header = next(rows)
    names = [name.strip() for name in header]
    repeated = {name for name in names if name and names.count(name) > 1}
    if repeated:
        raise UserError(f"two columns are named '{min(repeated)}'", where=str(path), fix="rename one")
    columns: list[list[str]] = [[] for _ in names]
    for line, cells in rows:
        if len(cells) != len(names):
            problems.add(f"line {line} has {len(cells)} cells, the header has {len(names)}")
            continue
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    problems.raise_if_any()
    # a column without a name is pandas' index
    return {name: column for name, column in zip(names, columns, strict=True) if name}


def _detect_delimiter(path: Path, text: str, audio_names: Collection[str]) -> str:
    """Return the suffix's delimiter, unless only another one finds the audio column in the header."""
    usual = TABLE_DELIMITERS.get(path.suffix.lower(), ",")
    header = text.lstrip().splitlines()[0]
    for delimiter in (usual, ",", "\t", ";"):
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
        if any(name in names for name in audio_names):
            return delimiter
    return usual


def _iter_rows(path: Path, text: str, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of each non-blank row, the header first."""
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
        raise UserError(f"line {reader.line_num} cannot be read ({error})", where=str(path), fix=fix) from None


def _parse_jsonl(path: Path, text: str) -> Columns:
    rows: list[dict[str, Any]] = []
    problems = Problems(f"{path}: lines that are not JSON objects", fix="write one JSON object per line")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(f"line {number}: {error}")
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            problems.add(f"line {number}: {type(row).__name__} instead of an object")
    problems.raise_if_any()
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [cell_to_string(row.get(name)) for row in rows] for name in names}


def cell_to_string(value: Any) -> str:
    """Convert a cell to the string that a CSV holds: "" for None, JSON for lists and objects."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cell_to_json(value: Any) -> Any:
    """Convert a cell to a JSON value: dates (parquet has them) become strings, NaN and infinity None."""
    if value is None or isinstance(value, str):
        return value
    return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Write rows as CSV (or TSV, JSONL by suffix), UTF-8 with LF; a missing cell is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    delimiter = TABLE_DELIMITERS.get(path.suffix.lower(), ",")
    with path.open("w", encoding="utf-8", newline="") as file:
        if not delimiter:
            for row in rows:
                file.write(json.dumps({name: row.get(name) for name in names}, ensure_ascii=False) + "\n")
            return
        plain = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        quoted = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(names)
        for row in rows:
            cells = [cell_to_string(row.get(name)) for name in names]
            # csv does not quote a carriage return by itself
            (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)
