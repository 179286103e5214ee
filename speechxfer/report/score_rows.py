"""Rows of a score table: all utterances, the groups of each column, and bins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from speechxfer.scoring import Counts, GroupScore, Score
from speechxfer.scoring.groups import are_numbers_or_bins, sort_values

MAX_GROUP_ROWS = 24  # values of a column above which a table shows only some of them
NUM_WORST, NUM_BEST = 8, 4  # values shown of such a column
_BIN_NAMES = {"words": "length"}

BinCounts = Mapping[str, Sequence[tuple[str, Counts]]]


@dataclass(frozen=True)
class Row:
    """A row of a table: the column and the value it is about, and the result of each system.

    Attributes:
        pooled: the row is for several values that have no row of their own.
    """

    column: str
    value: str
    groups: list[GroupScore]
    pooled: bool = False


def make_rows(scores: Sequence[Score], bins: Sequence[BinCounts] = (), by: str | None = None) -> list[Row]:
    """Make the rows for all utterances, for the groups of each column, and for the bins.

    Args:
        bins: `ErrorAnalysis.bins` of each score.
        by: the column whose groups are shown (default: all columns worth showing).
    """
    rows = [Row("all", "", [score.overall for score in scores])]
    for column in scores[0].shown_columns:
        if by in (None, column) and all(column in score.by for score in scores):
            rows += _shorten_column(make_group_rows(scores, column))
    return rows + (_make_bin_rows(bins) if by is None and bins else [])


def make_group_rows(scores: Sequence[Score], column: str) -> list[Row]:
    """Make a row per value of a column that all systems have, in the order of the last system."""
    values = [value for value in scores[0].by[column] if all(value in score.by[column] for score in scores)]
    ordered = order_values(scores[-1], column, values)
    return [Row(column, value, [score.by[column][value] for score in scores]) for value in ordered]


def order_values(score: Score, column: str, values: Iterable[str]) -> list[str]:
    """Order values of a column: a few numbers or bins by size, others by their rate, the highest first."""
    listed = sort_values(values)
    if column == "speaker" or len(listed) > MAX_GROUP_ROWS or not are_numbers_or_bins(listed):
        groups = score.by.get(column, {})
        rates = {value: group.wer or 0.0 for value, group in groups.items()}
        listed.sort(key=lambda value: -rates.get(value, 0.0))
    return listed


def _shorten_column(rows: list[Row]) -> list[Row]:
    """Of many values keep only the worst and the best; all others share a row between them."""
    pooled = rows[NUM_WORST:-NUM_BEST] if len(rows) > MAX_GROUP_ROWS else []
    if not pooled:
        return rows
    sums = [
        GroupScore(sum((group.counts for group in groups), start=Counts()), None)
        for groups in zip(*(row.groups for row in pooled), strict=True)
    ]
    others = Row(rows[0].column, f"{len(pooled)} others", sums, pooled=True)
    return [*rows[:NUM_WORST], others, *rows[-NUM_BEST:]]


def _make_bin_rows(bins: Sequence[BinCounts]) -> list[Row]:
    """Make a row per bin that all systems have."""
    rows = []
    for name in bins[0]:
        columns = [dict(found.get(name, [])) for found in bins]
        for label in columns[0]:
            if all(label in column for column in columns):
                groups = [GroupScore(column[label], None) for column in columns]
                rows.append(Row(_BIN_NAMES.get(name, name), label, groups))
    return rows
