"""Texts and values given to `score`: one string, sequences and iterators in one order, or mappings that meet by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from speechxfer.errors import UserError, suggest_nearest
from speechxfer.scoring.pairing import MISSING_POLICIES
from speechxfer.text.characters import compose

Texts = str | Iterable[str] | Mapping[Any, str | None]
Values = Iterable[Any] | Mapping[Any, Any]

_MAX_NAMES = 10  # keys listed in a message


@dataclass(frozen=True)
class PairedTexts:
    """References and hypotheses in one order, NFC-normalised.

    Attributes:
        keys: the keys of mappings, in order; None for texts without keys.
        rows: the positions, in the references as given, of the utterances that are scored.
        notes: warnings for the user.
    """

    references: tuple[str, ...]
    hypotheses: tuple[str, ...]
    keys: tuple[Any, ...] | None
    rows: Sequence[int]
    notes: tuple[str, ...] = ()

    def select_values(self, values: Values, name: str, num_references: int) -> tuple[str, ...]:
        """Return one value per scored utterance, as strings; None becomes ''.

        Raises:
            UserError: if their number is not that of the references, or if a mapping has keys and the texts have none.
        """
        if isinstance(values, Mapping):
            if self.keys is None:
                fix = "give a list in the order of the texts, or mappings from id to text"
                raise UserError(f"{name} is a mapping, but the texts have no keys", fix=fix)
            return tuple(map(_to_string, map(values.get, self.keys)))
        listed = _to_tuple(values, name)
        if len(listed) != num_references:
            raise UserError(f"{num_references} references but {len(listed)} {name}", fix="give one value per utterance")
        if len(self.rows) == num_references:
            return tuple(map(_to_string, listed))
        return tuple(_to_string(listed[row]) for row in self.rows)


def pair_texts(references: Texts, hypotheses: Texts, missing: str = "error") -> PairedTexts:
    """Pair texts by position, or by key if both sides are mappings.

    Args:
        missing: treatment of keys without a hypothesis (lacking, or None): "error", "empty" or "skip".

    Raises:
        UserError: for anything that is not texts, for different lengths, for a mapping on one side only, and naming the
            keys that are missing or not in the references.
    """
    if missing not in MISSING_POLICIES:
        problem = f"unknown value missing='{missing}'{suggest_nearest(missing, MISSING_POLICIES)}"
        raise UserError(problem, fix=f"use one of {', '.join(MISSING_POLICIES)}")
    if isinstance(references, Mapping) and isinstance(hypotheses, Mapping):
        return _pair_by_key(references, hypotheses, missing)
    if isinstance(references, Mapping) or isinstance(hypotheses, Mapping):
        given, other = ("references", "hypotheses")[:: 1 if isinstance(references, Mapping) else -1]
        raise UserError(
            f"{given} is a mapping and {other} is not", fix="give mappings with the same keys, or two lists"
        )
    left, right = _to_texts(references, "references"), _to_texts(hypotheses, "hypotheses")
    if len(left) != len(right):
        raise UserError(f"{len(left)} references but {len(right)} hypotheses", fix="give one value per utterance")
    return PairedTexts(left, right, None, range(len(left)))


def _pair_by_key(references: Mapping[Any, Any], hypotheses: Mapping[Any, Any], missing: str) -> PairedTexts:
    if extra := [key for key in hypotheses if key not in references]:
        fix = "remove them, or add their references"
        raise UserError(f"not in the references: {_list_names(extra)}", where="hypotheses", fix=fix)
    absent = {key for key in references if hypotheses.get(key) is None}
    lacking = [key for key in references if key in absent]
    if lacking and missing == "error":
        raise UserError(
            f"{len(lacking)} of {len(references)} utterances have no hypothesis: {_list_names(lacking)}",
            where="hypotheses",
            fix="set missing='empty' to count their words as deleted, or missing='skip' to leave them out",
        )
    keys = list(references)
    rows = [row for row, key in enumerate(keys) if missing != "skip" or key not in absent]
    kept = tuple(keys[row] for row in rows)
    treatment = "scored as empty" if missing == "empty" else "left out"
    some = "1 utterance" if len(lacking) == 1 else f"{len(lacking)} utterances"
    notes = (f"{some} without a hypothesis {treatment}: {_list_names(lacking)}",) if lacking else ()
    return PairedTexts(
        references=_to_nfc([references[key] for key in kept], "references", kept),
        hypotheses=_to_nfc(["" if key in absent else hypotheses[key] for key in kept], "hypotheses", kept),
        keys=kept,
        rows=rows,
        notes=notes,
    )


def _to_texts(texts: Any, side: str) -> tuple[str, ...]:
    return _to_nfc((texts,) if isinstance(texts, str) else _to_tuple(texts, side), side)


def _to_tuple(values: Any, name: str) -> tuple[Any, ...]:
    """Read a sequence or an iterator. Raises UserError for one value, and for what has no order or several columns."""
    if isinstance(values, Set):
        raise UserError(f"{name} is a set, which has no order", fix="give a list, or a mapping from id to value")
    if hasattr(values, "columns"):  # iterating over a data frame gives the names of its columns
        fix = f"give one of its columns: {name}=frame['...']"
        raise UserError(f"{name} is a table of type {type(values).__name__}", fix=fix)
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        problem = f"{name} is of type {type(values).__name__}, not a list"
        raise UserError(problem, fix="give one value per utterance")
    return tuple(values)


def _to_nfc(texts: Sequence[Any], side: str, keys: Sequence[Any] | None = None) -> tuple[str, ...]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            at = i if keys is None else repr(keys[i])
            raise UserError(f"{side}[{at}] is of type {type(text).__name__}, not a string", fix="use '' for no text")
    return tuple(map(compose, texts))


def _to_string(value: Any) -> str:
    return "" if value is None else str(value)


def _list_names(keys: Sequence[Any]) -> str:
    more = f" and {len(keys) - _MAX_NAMES} more" if len(keys) > _MAX_NAMES else ""
    return ", ".join(map(str, keys[:_MAX_NAMES])) + more
