"""Score hypotheses against references, in chunks of utterances, to bound memory beyond the texts themselves."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from speechxfer.errors import UserError, suggest_nearest
from speechxfer.scoring.alignment import count_operations
from speechxfer.scoring.character_errors import count_character_errors
from speechxfer.scoring.compounds import join_compounds
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.options import ScoringOptions
from speechxfer.scoring.result import Score
from speechxfer.scoring.tokens import tokenize

AUTO_GROUP_SIZES = (2, 200)  # minimum and maximum number of distinct values of a column that `by="auto"` selects
_CHUNK = 50_000  # utterances aligned together


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    speakers: Sequence[str | None] | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    by: Sequence[str] | Literal["auto"] | None = None,
    options: ScoringOptions | None = None,
) -> Score:
    """Score `hypotheses` against `references`, utterance by utterance.

    Args:
        references: raw texts.
        hypotheses: raw texts in the same order.
        ids: unique names (default: "1", "2", ...).
        speakers: one name per utterance; confidence intervals are then computed over speakers.
        columns: further values of each utterance, by column name.
        by: column names to break the result down by; "auto": every column (speaker too) with 2 to 200 distinct values
            (default: no breakdown).
        options: normaliser, alignment and unit (default: `ScoringOptions()`).

    Raises:
        UserError: for sequences of different lengths, duplicate ids and texts that are not strings.
    """
    options = options or ScoringOptions()
    left, right = _to_nfc(references, "references"), _to_nfc(hypotheses, "hypotheses")
    names = tuple(map(str, ids)) if ids is not None else tuple(map(str, range(1, len(left) + 1)))
    values = {name: _to_strings(column) for name, column in (columns or {}).items()}
    known = _to_strings(speakers) if speakers is not None else values.get("speaker")
    known_columns = values if known is None else {**values, "speakers": known}
    _check_lengths(len(left), {"hypotheses": right, "ids": names, **known_columns})
    _check_unique(names)
    if known is not None:
        values = {"speaker": known, **{name: column for name, column in values.items() if name != "speaker"}}
    by_columns, notes = _select_columns(by, values)
    with pause_gc():
        words, characters = count_errors(left, right, names, options)
    return Score(
        ids=names,
        references=left,
        hypotheses=right,
        speakers=_fill_unknown(known, names),
        columns=values,
        by_columns=by_columns,
        words=words,
        characters=characters,
        options=options,
        notes=notes,
        auto=by == "auto",
    )


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str], options: ScoringOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count word and character errors of each utterance.

    Returns:
        (utterances, 4) hits, substitutions, deletions, insertions; (utterances, 2) character errors and reference
        lengths.
    """
    words = np.zeros((len(references), 4), dtype=np.int64)
    characters = np.zeros((len(references), 2), dtype=np.int64)
    for start in range(0, len(references), _CHUNK):
        rows = slice(start, start + _CHUNK)
        words[rows], characters[rows] = _count_chunk(references[rows], hypotheses[rows], ids[rows], options)
    return words, characters


def _count_chunk(
    references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str], options: ScoringOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    normalised = zip(options.side_normalisers, (references, hypotheses), strict=True)
    left, right = (list(map(normalise, texts)) for normalise, texts in normalised)
    left_tokens, right_tokens = ([tokenize(text, options.unit) for text in texts] for texts in (left, right))
    if options.compounds:
        right_tokens = [join_compounds(r, h, options.align) for r, h in zip(left_tokens, right_tokens, strict=True)]
        right = [" ".join(tokens) for tokens in right_tokens]
    paths = {}
    for i, texts in enumerate(zip(references, hypotheses, ids, strict=True) if options.reading else ()):
        if (path := options.align_notation(*texts)) is not None:
            paths[i], left_tokens[i], right_tokens[i] = path, [], []
    words = count_operations(left_tokens, right_tokens, options.align)
    for i, path in paths.items():
        words[i] = [sum(operation == letter for operation, _, _ in path) for letter in "=SDI"]
        left[i], right[i] = _join_path(path)
    if options.unit == "char":  # the same units, so the same errors
        return words, np.column_stack([words[:, 1:].sum(axis=1), words[:, :3].sum(axis=1)])
    return words, count_character_errors(left, right, ids)


def _join_path(path: Sequence[tuple[str, str, str]]) -> tuple[str, str]:
    """Return both texts of an alignment through networks, without the optional words that one side lacks."""
    reference = " ".join(r for operation, r, h in path if r and (h or operation == "D"))
    return reference, " ".join(h for operation, r, h in path if h and (r or operation == "I"))


def _to_nfc(texts: Sequence[str], side: str) -> tuple[str, ...]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"{side}[{i}] is of type {type(text).__name__}, not a string", fix="use '' for no text")
    return tuple(text if text.isascii() else unicodedata.normalize("NFC", text) for text in texts)


def _to_strings(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple("" if value is None else str(value) for value in values)


def _fill_unknown(speakers: Sequence[str] | None, ids: Sequence[str]) -> tuple[str, ...] | None:
    """Give each utterance of an unknown speaker a speaker of its own; None if no speaker is known."""
    if speakers is None or not any(speakers):
        return None
    return tuple(speaker or f"utterance {name}" for speaker, name in zip(speakers, ids, strict=True))


def _check_lengths(expected: int, others: Mapping[str, Sequence[str]]) -> None:
    for name, values in others.items():
        if len(values) != expected:
            raise UserError(f"{expected} references but {len(values)} {name}", fix="give one value per utterance")


def _check_unique(ids: Sequence[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise UserError(f"duplicate id '{name}'", fix="give each utterance its own id")
        seen.add(name)


def _select_columns(
    by: Sequence[str] | Literal["auto"] | None, columns: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns to break the result down by, and a warning for each that does not exist."""
    if by is None:
        return (), ()
    if isinstance(by, str):
        if by != "auto":
            raise UserError(f"by='{by}' is neither 'auto' nor a list of columns", fix=f"set by=['{by}']")
        low, high = AUTO_GROUP_SIZES
        return tuple(name for name, values in columns.items() if low <= len(set(values)) <= high), ()
    lacking = [name for name in by if name not in columns]
    notes = [f"no column '{name}' to break the result down by{suggest_nearest(name, columns)}" for name in lacking]
    return tuple(name for name in by if name in columns), tuple(notes)
