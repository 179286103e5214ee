"""CSV, TSV and JSONL tables as rows of strings, each mistake in them named by its line.

Cells stay what they are written as (speaker 0001 does not become 1): the csv module reads, nothing guesses types.
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

csv.field_size_limit(10_000_000)  # a long transcript is no reason to stop; an unclosed quote is found by `strict`


def read_table(path: Path, audio_names: Collection[str] = ("audio",), *, quoted: bool = True) -> Columns:
    """Columns of a table, every cell a string ("" where there is nothing).

    audio_names: the columns by which the delimiter is told: a table with semicolons is read as what it is.
    quoted: False takes quotation marks as text (Common Voice's TSV).
    Raises UserError: not there, empty, not UTF-8, a row of another length than the header, broken JSON.
    """
    text = read_utf8(path)
    if not text.strip():
        raise UserError("the table is empty", where=str(path), fix="write a header line and one row an utterance")
    if TABLE_DELIMITERS.get(path.suffix.lower()) == "":
        return _jsonl(path, text)
    return _delimited(path, text, audio_names, quoted)


def read_utf8(path: Path) -> str:
    """A file's text: UTF-8, with or without BOM. Raises UserError naming the line that is not."""
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


def _delimited(path: Path, text: str, audio_names: Collection[str], quoted: bool) -> Columns:
    delimiter = _delimiter(path, text, audio_names)
    problems = Problems(f"{path}: rows that do not fit the header", fix="quote cells that hold the delimiter")
    rows = _cells(path, text, delimiter, quoted)
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
    return {name: column for name, column in zip(names, columns, strict=True) if name}  # nameless: pandas' index


def _delimiter(path: Path, text: str, audio_names: Collection[str]) -> str:
    """The suffix's delimiter, unless another one (and only it) finds the audio column in the header."""
    usual = TABLE_DELIMITERS.get(path.suffix.lower(), ",")
    header = text.lstrip().splitlines()[0]
    for delimiter in (usual, ",", "\t", ";"):
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
        if any(name in names for name in audio_names):
            return delimiter
    return usual


def _cells(path: Path, text: str, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row that is not blank, the header first."""
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
        fix = "a quotation mark inside a cell is written twice, and the cell is quoted"
        raise UserError(f"line {reader.line_num} cannot be read ({error})", where=str(path), fix=fix) from None


def _jsonl(path: Path, text: str) -> Columns:
    rows: list[dict[str, Any]] = []
    problems = Problems(f"{path}: lines that are not JSON objects", fix="write one JSON object a line")
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
            problems.add(f"line {number}: a {type(row).__name__}, not an object")
    problems.raise_if_any()
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [cell_to_string(row.get(name)) for row in rows] for name in names}


def cell_to_string(value: Any) -> str:
    """A cell's value as the string that a CSV would hold: "" for nothing, JSON for lists and objects."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cell_to_json(value: Any) -> Any:
    """A cell's value as JSON can hold it: parquet holds dates, and numbers that are none."""
    if value is None or isinstance(value, str):
        return value
    return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Write rows as CSV (TSV, JSONL by suffix), UTF-8 with plain newlines; a row's missing cell is empty."""
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
            (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)  # csv leaves \r bare
