"""A score as jiwer's `WordOutput`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from speechxfer.scoring.counts import Counts

if TYPE_CHECKING:
    import jiwer

_TYPES = {"=": "equal", "S": "substitute", "D": "delete", "I": "insert"}


def make_word_output(
    references: list[list[str]], hypotheses: list[list[str]], operations: Sequence[str], counts: Counts
) -> jiwer.WordOutput:
    """Return jiwer's `WordOutput`, for jiwer's tools (`visualize_alignment`).

    Args:
        references: the words of each utterance, as normalised.
        hypotheses: likewise.
        operations: the alignment of each utterance, with a letter per position: `=`, S, D or I.
        counts: of all utterances.
    """
    import jiwer

    # without reference words the rates are not defined here, but numbers in jiwer
    wer = float(counts.errors) if counts.wer is None else counts.wer
    mer = float(counts.errors > 0) if counts.mer is None else counts.mer
    wil = 1.0 if counts.wil is None else counts.wil
    return jiwer.WordOutput(
        references=references,
        hypotheses=hypotheses,
        alignments=[_make_chunks(letters, jiwer.AlignmentChunk) for letters in operations],
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
