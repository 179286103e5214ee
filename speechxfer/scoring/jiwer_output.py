"""Exchange with jiwer: a score as its `WordOutput`, and its transforms as normalisers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from speechxfer.errors import UserError

if TYPE_CHECKING:
    import jiwer

    from speechxfer.scoring.result import Score

_TYPES = {"=": "equal", "S": "substitute", "D": "delete", "I": "insert"}


def make_word_output(score: Score) -> jiwer.WordOutput:
    """Return jiwer's `WordOutput` of a score, with the words as normalised, for jiwer's tools (`visualize_alignment`).

    Raises:
        UserError: for texts in sclite's notation, whose references are not lists of words.
    """
    import jiwer

    if score.options.reading is not None:
        raise UserError("jiwer has no alternatives", fix="score the texts without sclite's notation")
    sides = score.options.tokenize_pairs(score.references, score.hypotheses)
    counts = score.counts
    # without reference words the rates are not defined here, but numbers in jiwer
    wer = float(counts.errors) if counts.wer is None else counts.wer
    mer = float(counts.errors > 0) if counts.mer is None else counts.mer
    wil = 1.0 if counts.wil is None else counts.wil
    return jiwer.WordOutput(
        references=sides[0],
        hypotheses=sides[1],
        alignments=[_make_chunks(operations, jiwer.AlignmentChunk) for operations in score.operations],
        wer=wer,
        mer=mer,
        wil=wil,
        wip=1 - wil,
        hits=counts.hits,
        substitutions=counts.substitutions,
        insertions=counts.insertions,
        deletions=counts.deletions,
    )


def _make_chunks(operations: str, chunk: type[Any]) -> list[Any]:
    """Return jiwer's chunks: runs of equal operations, with the indices of their words."""
    chunks, reference, hypothesis = [], 0, 0
    for operation, run in groupby(operations):
        length = len(list(run))
        ends = reference + length * (operation != "I"), hypothesis + length * (operation != "D")
        chunks.append(chunk(_TYPES[operation], reference, ends[0], hypothesis, ends[1]))
        reference, hypothesis = ends
    return chunks


def is_jiwer_transform(normaliser: object) -> bool:
    """Whether an object is one of jiwer's transforms, without importing jiwer."""
    return any(kind.__module__.startswith("jiwer.") for kind in type(normaliser).__mro__)


def wrap_jiwer_transform(transform: Callable[[Any], Any]) -> Callable[[str], str]:
    """Return a jiwer transform as a normaliser str -> str; transforms that split into words are joined by spaces."""

    def normalise(text: str) -> str:
        return " ".join(_flatten(transform(text)))

    normalise.__name__ = f"jiwer.{type(transform).__name__}"
    return normalise


def _flatten(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [word for one in value for word in _flatten(one)]
