"""Selects the columns of a breakdown that are worth showing to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

SNR_COLUMNS = ("snr", "snr_db", "signal_to_noise")
_NUMERIC_COLUMNS = ("duration", *SNR_COLUMNS)  # shown as bins instead (`error_analysis`)
_MANY_VALUES = 20  # distinct values above which a column may be a measurement or an identifier


def select_shown_columns(names: Sequence[str], columns: Mapping[str, Sequence[str]], *, auto: bool) -> tuple[str, ...]:
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
