"""Which columns of a breakdown a person would read, and which of their groups are too small for an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from speechxfer.scoring.result import Score

SNR_COLUMNS = ("snr", "snr_db", "signal_to_noise")
_MEASURES = ("duration", *SNR_COLUMNS)  # shown in bins (`insight`)
_MANY = 20  # distinct values from which a column may be a measure, or a name of each utterance
_NAMED = 3  # groups named in a warning


def select_shown_columns(score: Score) -> tuple[str, ...]:
    """Columns by their number of values, the speaker last.

    Of columns chosen by `auto`, left out are measures (durations, and whatever else has many different numbers), names
    (nearly as many as utterances) and columns that part the utterances as an earlier one does.
    """
    columns = [name for name in score.by_columns if name in score.columns]
    columns.sort(key=lambda name: (name == "speaker", len(set(score.columns[name]))))
    if not score.auto:
        return tuple(columns)
    kept: dict[bytes, str] = {}
    for name in columns:
        values = set(score.columns[name])
        if name in _MEASURES and _are_numbers(values):
            continue
        if len(values) > _MANY and (2 * len(values) > len(score.ids) or (name != "speaker" and _are_numbers(values))):
            continue
        partition = _partition(score.columns[name])
        if name == "speaker":
            kept[partition] = name  # rather than another column's name for the same people
        else:
            kept.setdefault(partition, name)
    return tuple(kept.values())


def make_small_group_warnings(score: Score, least: int) -> list[str]:
    """A warning that names the shown groups of fewer than `least` speakers (utterances, where a group is a speaker)."""
    found: dict[str, list[str]] = {}
    for column in score.select_shown_columns:
        rows = score.group_rows(column)
        codes, over = score.group_units(rows)
        small = [value or "(none)" for value, r in rows.items() if len(np.unique(codes[r])) < least]
        if small:
            more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
            found.setdefault(over, []).append(f"{column} {', '.join(small[:_NAMED])}{more}")
    return [f"no interval from fewer than {least} {over}: {'; '.join(named)}" for over, named in found.items()]


def _are_numbers(values: set[str]) -> bool:
    try:
        return all(value == "" or np.isfinite(float(value)) for value in values)
    except ValueError:
        return False


def _partition(values: Sequence[str]) -> bytes:
    """The same for two columns that put the same utterances together."""
    _, first, numbers = np.unique(np.array(values, dtype=object), return_index=True, return_inverse=True)
    return first[numbers].tobytes()
