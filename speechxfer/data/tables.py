"""Tables of utterances as columns of strings, and writing them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechxfer.atomic import open_atomically
from speechxfer.tables import read_table

TABLE_DELIMITERS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}  # of tables that are written
Columns = dict[str, list[Any]]


def read_columns(path: Path, *, quoted: bool | None = None, names: Sequence[str] | None = None) -> Columns:
    """Read the columns of a table (see `speechxfer.tables.read_table`); every cell is a string ("" if missing)."""
    table = read_table(path, quoted=quoted, names=names)
    return {name: [cell_to_string(cell) for cell in cells] for name, cells in table.columns.items()}


def concat_tables(tables: Sequence[Columns]) -> Columns:
    """Concatenate the rows of tables; a column that a table lacks is empty there."""
    names = list(dict.fromkeys(name for table in tables for name in table))
    sizes = [len(next(iter(table.values()), [])) for table in tables]
    return {
        name: [v for table, size in zip(tables, sizes, strict=True) for v in table.get(name, [""] * size)]
        for name in names
    }


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
    delimiter = TABLE_DELIMITERS.get(path.suffix.lower(), ",")
    with open_atomically(path, newline="") as file:
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
