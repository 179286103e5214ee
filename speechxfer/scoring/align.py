"""Alignment of reference and hypothesis: substitutions, deletions and insertions of every utterance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

HIT, SUBSTITUTION, DELETION, INSERTION = "=SDI"

Tokens = Sequence[str]


def operations(reference: Tokens, hypothesis: Tokens) -> str:
    """The fewest edits, one letter a position (`=`, S, D, I): rapidfuzz's choice among equals, as jiwer's is."""
    letters = []
    at = 0
    for edit in Levenshtein.editops(reference, hypothesis):
        letters.append(HIT * (edit.src_pos - at))
        at = edit.src_pos + (edit.tag != "insert")
        letters.append({"replace": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}[edit.tag])
    letters.append(HIT * (len(reference) - at))
    return "".join(letters)


def count(references: Sequence[Tokens], hypotheses: Sequence[Tokens]) -> NDArray[np.int64]:
    """(utterances, 4): hits, substitutions, deletions, insertions."""
    rows = [
        [o.count(HIT), o.count(SUBSTITUTION), o.count(DELETION), o.count(INSERTION)]
        for o in map(operations, references, hypotheses)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 4)
