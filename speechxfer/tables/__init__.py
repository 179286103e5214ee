"""Tables of utterances, for scoring and training: CSV, TSV and JSON Lines with their column names. Imports no torch."""

from speechxfer.tables.column_names import (
    COLUMN_ROLES,
    ColumnMap,
    find_names,
    find_role,
    list_names,
    map_columns,
    parse_column_options,
)
from speechxfer.tables.reader import TABLE_SUFFIXES, Table, parse_table, read_table

__all__ = [
    "COLUMN_ROLES",
    "TABLE_SUFFIXES",
    "ColumnMap",
    "Table",
    "find_names",
    "find_role",
    "list_names",
    "map_columns",
    "parse_column_options",
    "parse_table",
    "read_table",
]
