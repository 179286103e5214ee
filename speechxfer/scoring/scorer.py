"""Score hypotheses against references, in chunks of utterances, to bound memory beyond the texts themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from speechxfer.errors import UserError
from speechxfer.scoring.alignment import align_operations
from speechxfer.scoring.character_errors import count_character_errors
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.groups import select_breakdown
from speechxfer.scoring.inputs import PairedTexts, Texts, Values, pair_texts
from speechxfer.scoring.long_texts import check_lengths
from speechxfer.scoring.options import ScoringOptions
from speechxfer.scoring.result import Score

_CHUNK = 50_000  # utterances aligned together


def score(
    references: Texts,
    hypotheses: Texts,
    *,
    ids: Iterable[Any] | None = None,
    speakers: Values | None = None,
    columns: Mapping[str, Values] | None = None,
    by: Iterable[str] | Literal["auto"] | None = None,
    options: ScoringOptions | None = None,
    missing: Literal["error", "empty", "skip"] = "error",
) -> Score:
    """Score `hypotheses` against `references`, utterance by utterance.

    Args:
        references: raw texts: a list or any iterable of strings, a mapping from id to text, or one string, which is one
            utterance.
        hypotheses: raw texts in the same order, or a mapping with the same keys.
        ids: unique names (default: the keys of the mappings, or "1", "2", ...).
        speakers: one name per utterance, or a mapping by id; confidence intervals are then computed over speakers.
        columns: further values of each utterance, by column name.
        by: column names to break the result down by, also crossed (`gender+age`) and in bins of a width (`age:10`);
            "auto": the speaker, and every column of at most 40 characters and at least five utterances per value on
            average, with 2 to 200 distinct values (default: no breakdown).
        options: normaliser, alignment and unit (default: `ScoringOptions()`).
        missing: what to do with ids of a mapping that have no hypothesis: "error", "empty" or "skip".

    Raises:
        UserError: for sequences of different lengths, duplicate ids, texts that are not strings, sets, tables, and ids
            on one side only.
    """
    pairs, names, values = _read_inputs(references, hypotheses, ids, speakers, columns or {}, missing)
    options = (options or ScoringOptions()).with_unit_of(pairs.references)
    breakdown = select_breakdown(by, values)
    with pause_gc():
        counted = count_errors(pairs.references, pairs.hypotheses, names, options)
    return Score(
        ids=names,
        references=pairs.references,
        hypotheses=pairs.hypotheses,
        speakers=_fill_unknown(values.get("speaker"), names),
        columns={**values, **breakdown.made},
        by_columns=breakdown.names,
        words=counted.words,
        characters=counted.characters,
        operations=counted.operations,
        options=options,
        notes=(*pairs.notes, *breakdown.problems),
        auto=by == "auto",
    )


def _read_inputs(
    references: Texts,
    hypotheses: Texts,
    ids: Iterable[Any] | None,
    speakers: Values | None,
    columns: Mapping[str, Values],
    missing: str,
) -> tuple[PairedTexts, tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the texts, the ids and the columns, the speakers first among them."""
    pairs = pair_texts(references, hypotheses, missing)
    total = len(references) if isinstance(references, Mapping) else len(pairs.references)
    if pairs.keys is not None and ids is not None:
        raise UserError("ids are given twice: as `ids` and as the keys of the texts", fix="leave out `ids`")
    if ids is not None:
        names = pairs.select_values(ids, "ids", total)
    else:
        names = tuple(map(str, range(1, total + 1) if pairs.keys is None else pairs.keys))
    _check_unique(names)
    known = speakers if speakers is not None else columns.get("speaker")
    given = {**({} if known is None else {"speaker": known}), **{n: v for n, v in columns.items() if n != "speaker"}}
    values = {n: pairs.select_values(v, "speakers" if n == "speaker" else n, total) for n, v in given.items()}
    return pairs, names, values


@dataclass(frozen=True)
class CountedErrors:
    """Errors of utterances.

    Attributes:
        words: (utterances, 4) hits, substitutions, deletions, insertions.
        characters: (utterances, 2) character errors and reference lengths.
        operations: the alignment of each utterance, with a letter per position: `=`, S, D or I.
    """

    words: NDArray[np.int64]
    characters: NDArray[np.int64]
    operations: list[str]


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str], options: ScoringOptions
) -> CountedErrors:
    """Count word and character errors of each utterance."""
    words = np.zeros((len(references), 4), dtype=np.int64)
    characters = np.zeros((len(references), 2), dtype=np.int64)
    operations: list[str] = []
    known: dict[str, str] = {}  # equal strings are kept once: most utterances have no error
    for start in range(0, len(references), _CHUNK):
        rows = slice(start, start + _CHUNK)
        chunk = _count_chunk(references[rows], hypotheses[rows], ids[rows], options)
        words[rows], characters[rows] = chunk.words, chunk.characters
        operations += [known.setdefault(letters, letters) for letters in chunk.operations]
    return CountedErrors(words, characters, operations)


def _count_chunk(
    references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str], options: ScoringOptions
) -> CountedErrors:
    check_lengths(references, hypotheses, ids)
    left, right = options.tokenize_pairs(references, hypotheses)
    texts = list(map(" ".join, left)), list(map(" ".join, right))
    paths = {}
    for i, pair in enumerate(zip(references, hypotheses, ids, strict=True) if options.reading else ()):
        if (path := options.align_notation(*pair)) is not None:
            paths[i], left[i], right[i] = path, [], []
            texts[0][i], texts[1][i] = _join_path(path)
    operations = _align(left, right, options.align)
    for i, path in paths.items():
        operations[i] = "".join(operation for operation, _, _ in path)
    words = np.array([[letters.count(letter) for letter in "=SDI"] for letters in operations], dtype=np.int64)
    words = words.reshape(-1, 4)
    if options.unit == "char":  # the same units, so the same errors
        characters = np.column_stack([words[:, 1:].sum(axis=1), words[:, :3].sum(axis=1)])
    else:
        characters = count_character_errors(*texts, ids)
    return CountedErrors(words, characters, operations)


def _align(references: list[list[str]], hypotheses: list[list[str]], method: str) -> list[str]:
    """Align the pairs that differ; of the others, every word is a hit."""
    operations = ["=" * len(words) for words in references]
    differing = [i for i, words in enumerate(references) if words != hypotheses[i]]
    found = align_operations([references[i] for i in differing], [hypotheses[i] for i in differing], method)
    for i, letters in zip(differing, found, strict=True):
        operations[i] = letters
    return operations


def _join_path(path: Sequence[tuple[str, str, str]]) -> tuple[str, str]:
    """Return both texts of an alignment through networks, without the optional words that one side lacks."""
    reference = " ".join(r for operation, r, h in path if r and (h or operation == "D"))
    return reference, " ".join(h for operation, r, h in path if h and (r or operation == "I"))


def _fill_unknown(speakers: Sequence[str] | None, ids: Sequence[str]) -> tuple[str, ...] | None:
    """Give each utterance of an unknown speaker a speaker of its own; None if no speaker is known."""
    if speakers is None or not any(speakers):
        return None
    return tuple(speaker or f"utterance {name}" for speaker, name in zip(speakers, ids, strict=True))


def _check_unique(ids: Sequence[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise UserError(f"duplicate id '{name}'", fix="give each utterance its own id")
        seen.add(name)
