"""Aligned texts in the layout of sclite's `.pra` files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from speechxfer.scoring.result import AlignedWord, Score


def format_pra(score: Score, alignments: Iterable[Sequence[AlignedWord]]) -> Iterator[str]:
    """Yield the lines of the file: for each utterance its id, its counts, and both sides aligned by column."""
    for name, (hits, substitutions, deletions, insertions), words in zip(
        score.ids, score.words.tolist(), alignments, strict=True
    ):
        yield f"id: ({name})"
        yield f"Scores: (#C #S #D #I) {hits} {substitutions} {deletions} {insertions}"
        cells = [_cell(word) for word in words]
        yield "REF:  " + " ".join(c[0] for c in cells)
        yield "HYP:  " + " ".join(c[1] for c in cells)
        yield "Eval: " + " ".join(c[2] for c in cells)
        yield ""


def _cell(word: AlignedWord) -> tuple[str, str, str]:
    operation, reference, hypothesis = word
    if operation == "=" and not hypothesis:  # an optional word left out
        reference, hypothesis = f"({reference})", " "
    elif operation == "=" and not reference:  # an optional word of the hypothesis
        reference, hypothesis = " ", f"({hypothesis})"
    if operation in "SD":
        reference = reference.upper()
    if operation in "SI":
        hypothesis = hypothesis.upper()
    width = max(_width(reference), _width(hypothesis), 1)
    left, right = reference or "*" * width, hypothesis or "*" * width
    cells = (left, right, "" if operation == "=" else operation)
    padded = [text + " " * (width - _width(text)) for text in cells]
    return padded[0], padded[1], padded[2]


def _width(text: str) -> int:
    """Return the columns in a terminal: two for wide characters, none for combining marks."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
