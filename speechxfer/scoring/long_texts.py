"""Limits of long texts, and their edit distance, searched within a limit of errors that is raised step by step."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from speechxfer.errors import UserError

MAX_CHARACTERS = 1_000_000  # of a text; of two texts, on (geometric) average

_FIRST_LIMIT = 1024  # errors
_MAX_CELLS = 1_000_000_000_000  # cells that may be filled, which takes a minute


def check_lengths(references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str]) -> None:
    """Raise UserError for an utterance whose texts are too long to count their errors."""
    for reference, hypothesis, name in zip(references, hypotheses, ids, strict=True):
        if len(reference) * len(hypothesis) > MAX_CHARACTERS**2:
            length = max(len(reference), len(hypothesis))
            problem = f"a text of {length:,} characters is too long to score, the limit is {MAX_CHARACTERS:,}"
            raise UserError(problem, where=f"utterance '{name}'", fix="split it into segments")


def find_distance(reference: Sequence[str], hypothesis: Sequence[str], where: str, unit: str) -> int:
    """Return the fewest edits between two texts.

    The time is proportional to the length times the number of edits.

    Args:
        where: the texts' name, and `unit` the name of their units, in a message.

    Raises:
        UserError: if the texts are too long for their number of edits.
    """
    length, shorter = max(len(reference), len(hypothesis)), min(len(reference), len(hypothesis))
    limit = max(_FIRST_LIMIT, length - shorter)
    while True:
        cells = length * min(shorter, 2 * limit + 1)
        if cells > _MAX_CELLS:
            problem = f"a text of {length:,} {unit} with more than {limit // 2:,} errors takes too long to score"
            raise UserError(problem, where=where, fix="split it into segments")
        distance = Levenshtein.distance(reference, hypothesis, score_cutoff=limit, score_hint=limit)
        if distance <= limit:
            return int(distance)
        limit *= 2
