"""`score`: texts against texts. Counts are made in chunks, so that memory beyond the texts themselves stays bounded."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

from speechxfer.errors import UserError, suggest_nearest
from speechxfer.scoring import alignment as alignment
from speechxfer.scoring import notation as markup
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.result import Score, ScoringOptions
from speechxfer.scoring.tokens import check_unit, join_compounds, tokenize
from speechxfer.text.normalise import get_normaliser

AUTO_GROUP_SIZES = (2, 200)  # distinct values of a column that `by="auto"` breaks down by
_CHUNK = 50_000  # utterances aligned together


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    ids: Sequence[str] | None = None,
    speakers: Sequence[str | None] | None = None,
    *,
    columns: Mapping[str, Sequence[Any]] | None = None,
    by: Sequence[str] | Literal["auto"] | None = None,
    normaliser: str | Callable[[str], str] = "default",
    align: str = "min",
    unit: str = "word",
    notation: bool = False,
    compounds: bool = False,
    seed: int = 0,
) -> Score:
    """Score `list_hypotheses` against `references`, utterance by utterance.

    references, hypotheses: raw texts in the same order. ids: unique names, "1", "2", ... where not given.
    speakers: one name an utterance; intervals are then over speakers. columns: further values of each utterance.
    by: names of columns; "auto": every column (speaker too) with 2 to 200 distinct values; None: no breakdown.
    normaliser: a name, the path of a GLM file, or any function of a text. align: min or sclite.
    unit: word, char or mixed. notation: references are in sclite's notation. compounds: words split or joined otherwise
    than in the reference count as right. seed: of the bootstrap.

    Raises UserError for lengths that differ, ids that repeat and unknown names.
    """
    texts = _nfc(references, "references")
    guesses = _nfc(hypotheses, "hypotheses")
    names = tuple(map(str, ids)) if ids is not None else tuple(map(str, range(1, len(texts) + 1)))
    kept = {name: tuple("" if v is None else str(v) for v in values) for name, values in (columns or {}).items()}
    who = tuple("" if s is None else str(s) for s in speakers) if speakers is not None else kept.get("speaker")
    _check(texts, {"hypotheses": guesses, "ids": names, **kept, **({} if who is None else {"speakers": who})}, names)
    if who is not None:
        kept = {"speaker": who, **{name: values for name, values in kept.items() if name != "speaker"}}
        # an utterance of an unknown speaker is its own unit
        who = tuple(s or f"utterance {n}" for s, n in zip(who, names, strict=True)) if any(who) else None
    chosen, notes = _breakdown(by, kept)
    alignment.check_align_method(align)
    check_unit(unit)
    if seed < 0:
        raise UserError(f"seed {seed}", fix="a whole number from 0 on")
    if notation and (unit != "word" or compounds):
        raise UserError("sclite's notation is for words as written", fix="leave out --unit and --compounds")
    rule = get_normaliser(normaliser) if isinstance(normaliser, str) else normaliser
    options = ScoringOptions(rule, align, unit, notation, compounds, seed)
    with pause_gc():
        words, characters = count_errors(texts, guesses, names, options)
    return Score(names, texts, guesses, who, kept, chosen, words, characters, options, notes, auto=by == "auto")


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str], options: ScoringOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(utterances, 4) hits, substitutions, deletions, insertions; (utterances, 2) character errors and lengths."""
    words = np.zeros((len(references), 4), dtype=np.int64)
    characters = np.zeros((len(references), 2), dtype=np.int64)
    for start in range(0, len(references), _CHUNK):
        rows = slice(start, start + _CHUNK)
        left = [options.normaliser(text) for text in references[rows]]
        right = [options.normaliser(text) for text in hypotheses[rows]]
        left_tokens = [tokenize(text, options.unit) for text in left]
        right_tokens = [tokenize(text, options.unit) for text in right]
        if options.compounds:
            right_tokens = list(map(join_compounds, left_tokens, right_tokens))
            right = [" ".join(t) for t in right_tokens]
        marked = []
        if options.notation:
            marked = [i for i, text in enumerate(references[rows]) if markup.has_markup(text)]
            for i in marked:
                left_tokens[i], right_tokens[i] = [], []
        words[rows] = alignment.count_operations(left_tokens, right_tokens, options.align)
        for i in marked:
            path = options.align_notation(references[start + i], hypotheses[start + i], ids[start + i])
            words[start + i] = [sum(op == letter for op, _, _ in path) for letter in "=SDI"]
            left[i] = " ".join(r for op, r, h in path if r and (h or op == "D"))
            right[i] = " ".join(h for _, _, h in path if h)
        left, right = [text.strip() for text in left], [text.strip() for text in right]
        characters[rows, 0] = cpdist(left, right, scorer=Levenshtein.distance, dtype=np.int32)
        characters[rows, 1] = [len(text) for text in left]
    return words, characters


def _nfc(texts: Sequence[str], side: str) -> tuple[str, ...]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"{side}[{i}] is {type(text).__name__}, not a text", fix="give '' for an empty one")
    return tuple(text if text.isascii() else unicodedata.normalize("NFC", text) for text in texts)


def _check(references: Sequence[str], others: Mapping[str, Sequence[str]], ids: Sequence[str]) -> None:
    for name, values in others.items():
        if len(values) != len(references):
            raise UserError(
                f"{len(references)} references but {len(values)} {name}", fix="give one value for every utterance"
            )
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise UserError(f"utterance '{twice}' stands twice", fix="give every utterance its own id")


def _breakdown(
    by: Sequence[str] | Literal["auto"] | None, columns: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns to break down by, and a warning for each that is lacking."""
    if by is None:
        return (), ()
    if isinstance(by, str):
        if by != "auto":
            raise UserError(f"by='{by}' is neither 'auto' nor a list of columns", fix=f"by=['{by}']")
        low, high = AUTO_GROUP_SIZES
        return tuple(name for name, values in columns.items() if low <= len(set(values)) <= high), ()
    lacking = [name for name in by if name not in columns]
    notes = [f"no column '{name}' to break the result down by{suggest_nearest(name, columns)}" for name in lacking]
    return tuple(name for name in by if name in columns), tuple(notes)
