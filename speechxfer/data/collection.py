"""Reads several tables of training data as one, with the weight and the language of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from speechxfer.config import DataTable
from speechxfer.data.reader import WarningCallback, list_duplicate_ids, make_unique, read, warn_user
from speechxfer.errors import UserError

WEIGHT_COLUMN = "weight"
LANGUAGE_COLUMN = "text_language"  # not `language`, which in many tables is the speaker's first language


def read_tables(
    source: str | Sequence[DataTable],
    *,
    need: Collection[str] = (),
    columns: Mapping[str, str] | None = None,
    on_warning: WarningCallback = warn_user,
) -> datasets.Dataset:
    """Read DATA, a pattern of file names (`parts/*.csv`), or several tables one after another (see `reader.read`).

    With weights other than 1, column `weight` has the weight of each row's table; where a table has a language, column
    `text_language` has it, else ''. A column that a table lacks is empty in its rows.

    Raises:
        UserError: for a pattern without files, and as `read` does.
    """
    tables = expand_tables(source)
    if len(tables) == 1 and tables[0].weight == 1 and tables[0].language is None:
        return read(tables[0].path, need=need, columns=columns, on_warning=on_warning)
    loaded = [read(table.path, need=need, columns=columns, on_warning=on_warning) for table in tables]
    parts = [rows.data.table for rows in loaded]
    if any(table.weight != 1 for table in tables):
        parts = _append_column(parts, WEIGHT_COLUMN, [table.weight for table in tables], pa.float64())
    if any(table.language for table in tables):
        parts = _append_column(parts, LANGUAGE_COLUMN, [table.language or "" for table in tables], pa.string())
    whole = _concatenate(parts, describe_tables(source))
    ids = whole["id"].to_pylist()
    if duplicates := list_duplicate_ids(ids):
        on_warning(
            f"{describe_tables(source)}: {len(duplicates)} ids occur in more than one table, e.g. "
            f"'{next(iter(duplicates))}': a number is added to the second and later ones"
        )
        whole = whole.set_column(whole.column_names.index("id"), "id", pa.array(make_unique(ids), pa.string()))
    return datasets.Dataset(datasets.table.InMemoryTable(whole))


def expand_tables(source: str | Sequence[DataTable]) -> list[DataTable]:
    """Return the tables, those of a pattern in the order of their names."""
    given = [DataTable(path=source)] if isinstance(source, str) else list(source)
    tables = []
    for table in given:
        path = Path(table.path).expanduser()
        if not any(character in table.path for character in "*?[") or path.exists():
            tables.append(table)
            continue
        base = Path(path.anchor)
        found = sorted(base.glob(str(path.relative_to(base))))
        if not found:
            raise UserError("no file matches this pattern", where=table.path, fix="check the folder and the suffix")
        tables += [table.model_copy(update={"path": str(name)}) for name in found]
    return tables


def describe_tables(source: str | Sequence[DataTable]) -> str:
    """Name the tables in a message."""
    if isinstance(source, str):
        return source
    return source[0].path if len(source) == 1 else f"{source[0].path} and {len(source) - 1} more"


def _append_column(
    parts: list[pa.Table], name: str, values: Sequence[float | str], kind: pa.DataType
) -> list[pa.Table]:
    """Append a column with one value to each table."""
    return [
        part.append_column(name, pa.array([value] * len(part), kind)) for part, value in zip(parts, values, strict=True)
    ]


def _concatenate(parts: list[pa.Table], where: str) -> pa.Table:
    try:
        whole = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise UserError(f"the tables have columns of different types ({error})", where=where) from None
    for index, field in enumerate(whole.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            whole = whole.set_column(index, field.name, pc.fill_null(pc.cast(whole[field.name], pa.string()), ""))
    return whole
