"""Chooses the columns of a table that hold the references and the hypotheses; two possible readings are an error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from speechxfer.errors import UserError, suggest_nearest
from speechxfer.tables import COLUMN_ROLES, Table, find_names, list_names

TableSide = Literal["reference", "hypothesis", "both"]
_PLAIN_TEXTS = COLUMN_ROLES["text"][:4]  # text, sentence, transcription, transcript: any of them may be either side
_SAMPLE_ROWS = 200
# columns that are never read as text
_NOT_TEXT = {*list_names("id", "audio", "speaker", "accent", "label", "language", "split", "start", "end", "duration")}
_NOT_TEXT |= {"gender", "sex", "age", "age_group", "segments", "words", "nbest", "complete", "confidence", "channel"}
_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)


@dataclass(frozen=True)
class TextColumns:
    """Names of the columns with the texts of both sides; None for a side that the table lacks."""

    reference: str | None
    hypothesis: str | None


def choose_text_columns(table: Table, side: TableSide, chosen: Mapping[str, str]) -> TextColumns:
    """Choose the text columns of a table.

    A column that is named for a side (`hypothesis`, `prediction`, ...) is taken before one that is named `text` or
    alike, and that before none.

    Args:
        side: which text is wanted; "both" for a table that is scored by itself.
        chosen: the user's choice, by side.

    Raises:
        UserError: if a wanted side has no column, or may be in either of two.
    """
    names = list(table.columns)
    texts = [name for name in find_names(_PLAIN_TEXTS, names) if name not in chosen.values()]
    texts = texts or [name for name in find_names(COLUMN_ROLES["text"], names) if name not in chosen.values()]
    found = {
        one: chosen.get(one) or _take_single(table, one, find_names(COLUMN_ROLES[one], names))
        for one in ("reference", "hypothesis")
    }
    if side != "hypothesis":
        found["reference"] = found["reference"] or _choose_reference(table, side, texts, found["hypothesis"])
    elif found["hypothesis"] is not None and len(texts) == 1:
        found["reference"] = found["reference"] or texts[0]
    if side != "reference":
        left = [name for name in texts if name != found["reference"]]
        found["hypothesis"] = found["hypothesis"] or _choose_hypothesis(table, side, left, found["reference"])
    return TextColumns(found["reference"], found["hypothesis"])


def _take_single(table: Table, side: str, names: Sequence[str]) -> str | None:
    """Return the only name of a side. Raises UserError for several."""
    if len(names) > 1:
        raise _make_ambiguity_error(table, side, names)
    return names[0] if names else None


def _choose_reference(table: Table, side: TableSide, texts: Sequence[str], hypothesis: str | None) -> str:
    if len(texts) == 1:
        return texts[0]
    if not texts:
        raise _make_missing_error(table, "reference", is_alone=side == "both")
    if side == "both" and hypothesis is None and len(texts) == 2:
        one, other = texts
        raise UserError(
            f"'{one}' may be the reference and '{other}' the hypothesis, or the other way round",
            where=str(table.path),
            fix=f"set --reference-column {one} --hypothesis-column {other}, or the reverse",
        )
    raise _make_ambiguity_error(table, "reference", texts)


def _choose_hypothesis(table: Table, side: TableSide, texts: Sequence[str], reference: str | None) -> str:
    others = [name for name in table.columns if name not in (*texts, reference) and _may_be_text(table, name)]
    if len(texts) == 1 and not others:
        return texts[0]
    if texts:
        raise _make_ambiguity_error(table, "hypothesis", [*texts, *others])
    raise _make_missing_error(table, "hypothesis", others[0] if others else None, is_alone=side == "both")


def _make_ambiguity_error(table: Table, side: str, names: Sequence[str]) -> UserError:
    quoted = " or ".join(f"'{name}'" for name in names)
    return UserError(f"the {side} may be {quoted}", where=str(table.path), fix=f"set --{side}-column to one of them")


def _make_missing_error(table: Table, side: str, candidate: str | None = None, *, is_alone: bool = False) -> UserError:
    names = list(table.columns)
    other = "hypothesis" if side == "reference" else "reference"
    fix = f"set --{side}-column {candidate or 'NAME'}"
    if is_alone:
        files = "REF {0}" if side == "reference" else "{0} HYP"
        fix = f"give the file of the other side too: speechxfer score {files.format(table.path)}; or {fix}"
    elif find_names(COLUMN_ROLES[other], names):
        fix += ", or swap the two files"
    return UserError(
        f"no column for the {side}{suggest_nearest(side, names)}; the columns are {', '.join(names)}",
        where=str(table.path),
        fix=fix,
    )


def _may_be_text(table: Table, name: str) -> bool:
    """Whether most cells of a column are different words or sentences, so that it may hold transcripts."""
    if name.casefold() in _NOT_TEXT or find_names(list_names("reference"), [name]):
        return False
    cells = [_to_text(cell) for cell in table.columns[name][:_SAMPLE_ROWS]]
    filled = [cell for cell in cells if cell]
    if 2 * len(filled) <= len(cells) or 2 * len(set(filled)) <= len(filled):
        return False
    worded = [cell for cell in filled if _is_worded(cell)]
    return 2 * len(worded) > len(filled)


def _is_worded(cell: str) -> bool:
    """Whether a cell is words, rather than a number, a path or an identifier."""
    tokens = cell.split()
    if len(tokens) == 1:
        return _WORD.fullmatch(tokens[0].strip(".,!?;:'\"")) is not None
    return 2 * sum(bool(_WORD.search(token)) for token in tokens) > len(tokens)


def _to_text(cell: Any) -> str:
    return cell.strip() if isinstance(cell, str) else ""
