"""The columns of a breakdown: by name, by `auto`, crossed (`gender+age`), in bins (`age:10`); which ones are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Literal

import numpy as np

from speechxfer.errors import UserError, suggest_nearest

ColumnValues = Mapping[str, Sequence[str]]

AUTO_GROUP_SIZES = (2, 200)  # minimum and maximum number of distinct values of a column that `by="auto"` selects
MAX_AUTO_LENGTH = 40  # characters of the longest value of such a column
MIN_AUTO_ROWS = 5  # utterances per value of such a column, on average
SNR_COLUMNS = ("snr", "snr_db", "signal_to_noise")
_NUMERIC_COLUMNS = ("duration", *SNR_COLUMNS)  # shown as bins instead (`error_analysis`)
_MANY_VALUES = 20  # distinct values above which a column may be a measurement or an identifier
_LEADING_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_NUMBER_OR_BIN = re.compile(rf"{_LEADING_NUMBER.pattern}(-\d+| to {_LEADING_NUMBER.pattern})?")


@dataclass(frozen=True)
class Breakdown:
    """The columns of a breakdown.

    Attributes:
        names: as they were asked for.
        made: values of the crossed and binned columns, one per utterance.
        problems: a message for each name that cannot be used.
    """

    names: tuple[str, ...] = ()
    made: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def select_breakdown(by: Iterable[str] | Literal["auto"] | None, columns: ColumnValues) -> Breakdown:
    """Select or make the columns to break a result down by.

    Args:
        by: names of columns, crossed columns `a+b`, numbers in bins of a width `column:width`, and crossings of those
            (`gender+age:10`); or "auto": every column with 2 to 200 distinct values, and other columns than
            the speaker only if these have at most 40 characters and at least five utterances each on average.

    Raises:
        UserError: for one string that is not "auto".
    """
    if by is None:
        return Breakdown()
    if isinstance(by, str):
        if by != "auto":
            raise UserError(f"by='{by}' is neither 'auto' nor a list of columns", fix=f"set by=['{by}']")
        return Breakdown(tuple(name for name, values in columns.items() if _is_auto(name, values)))
    made: dict[str, tuple[str, ...]] = {}
    names, problems = [], []
    for name in dict.fromkeys(by):
        try:
            if name not in columns:
                made[name] = _cross([_make_part(part.strip(), columns) for part in name.split("+")])
            names.append(name)
        except UserError as error:
            problems.append(error.problem)
    return Breakdown(tuple(names), made, tuple(problems))


def sort_values(values: Iterable[str]) -> list[str]:
    """Sort values of a column; numbers, and bins by their lower end, are sorted by size."""

    def key(value: str) -> tuple[bool, float, str]:
        number = _LEADING_NUMBER.match(value)
        return number is None, float(number[0]) if number else 0.0, value

    return sorted(values, key=key)


def are_numbers_or_bins(values: Iterable[str]) -> bool:
    """Return whether all values but '' are numbers or bins, which are shown in their own order."""
    return all(_NUMBER_OR_BIN.fullmatch(value) for value in values if value)


def _is_auto(name: str, values: Sequence[str]) -> bool:
    low, high = AUTO_GROUP_SIZES
    distinct = set(values)
    if name == "speaker" or not low <= len(distinct) <= high:
        return low <= len(distinct) <= high
    return len(values) >= MIN_AUTO_ROWS * len(distinct) and max(map(len, distinct)) <= MAX_AUTO_LENGTH


def _make_part(part: str, columns: ColumnValues) -> Sequence[str]:
    """Return the values of a column, or of its bins for `column:width`."""
    if part in columns:
        return columns[part]
    name, _, width = part.rpartition(":")
    if name in columns:
        return _bin_values(name, columns[name], width)
    wanted = name or part
    raise UserError(f"no column '{wanted}' to break the result down by{suggest_nearest(wanted, columns)}")


def _cross(parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    if len(parts) == 1:
        return tuple(parts[0])
    return tuple(" + ".join(value or "(none)" for value in values) for values in zip(*parts, strict=True))


def _bin_values(name: str, values: Sequence[str], width: str) -> list[str]:
    """Return the bin of each value: `20-29` for whole numbers, `0.5 to 1` (below 1) for others; '' for no value.

    The arithmetic is decimal: in binary, 0.3 / 0.1 is less than 3.
    """
    size = _to_decimal(width)
    if size is None or size <= 0:
        raise UserError(f"'{name}:{width}' has no bin width: write a positive number, e.g. '{name}:10'")
    numbers = {value: _to_decimal(value) for value in sorted(set(values)) if value.strip()}
    whole = all(n is not None and n >= 0 and n == n.to_integral_value() for n in (size, *numbers.values()))
    labels = {}
    for value, number in numbers.items():
        try:
            labels[value] = "" if number is None else _format_bin(number, size, whole)
        except InvalidOperation:  # more than 28 digits
            number = None
        if number is None:
            raise UserError(f"column '{name}' cannot be divided into bins: '{value}' is not a number, or too large")
    return [labels.get(value, "") for value in values]


def _to_decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _format_bin(number: Decimal, size: Decimal, whole: bool) -> str:
    quotient, rest = divmod(number, size)
    low = (quotient - (rest < 0)) * size
    if not whole:
        return f"{low.normalize():f} to {(low + size).normalize():f}"
    return f"{low:.0f}" if size == 1 else f"{low:.0f}-{low + size - 1:.0f}"


def select_shown_columns(names: Sequence[str], columns: ColumnValues, *, auto: bool) -> tuple[str, ...]:
    """Order columns by their number of distinct values, the speaker last, and drop those not worth showing.

    Args:
        names: the columns to choose from.
        columns: one value per utterance, by column name.
        auto: the columns were not chosen by name, so these are dropped: measurements (durations, and any column of many
            distinct numbers), identifiers (about as many values as utterances) and columns that group the utterances
            exactly as an earlier one does.
    """
    names = sorted(names, key=lambda name: (name == "speaker", len(set(columns[name]))))
    if not auto:
        return tuple(names)
    kept: dict[bytes, str] = {}
    for name in names:
        values = set(columns[name])
        if name in _NUMERIC_COLUMNS and _are_numbers(values):
            continue
        is_identifier = 2 * len(values) > len(columns[name])
        if len(values) > _MANY_VALUES and (is_identifier or (name != "speaker" and _are_numbers(values))):
            continue
        partition = _partition(columns[name])
        if name == "speaker":
            kept[partition] = name  # preferred to another column's name for the same people
        else:
            kept.setdefault(partition, name)
    return tuple(kept.values())


def _are_numbers(values: set[str]) -> bool:
    try:
        return all(value == "" or np.isfinite(float(value)) for value in values)
    except ValueError:
        return False


def _partition(values: Sequence[str]) -> bytes:
    """Return a key that is equal for two columns that group the utterances in the same way."""
    _, first, numbers = np.unique(np.array(values, dtype=object), return_index=True, return_inverse=True)
    return first[numbers].tobytes()
