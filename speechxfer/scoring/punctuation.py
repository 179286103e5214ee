"""Error rates of punctuation and of letter case, which the word error rate leaves out.

Words and punctuation marks of the texts as written are separate units, aligned with the fewest edits; words are
compared by the `default` normaliser, that is without case.

- Punctuation: a mark aligned with a different mark is a substitution; a mark of the reference aligned with a word or
  nothing is a deletion; a mark of the hypothesis aligned with a word or nothing is an insertion. The rate is their sum
  over the marks of the references.
- Case: of the words that are equal without case (and have letters with a case), the share that is written with
  different capital letters.

A mark is a full stop, comma, question or exclamation mark, colon, semicolon or ellipsis, also of other scripts, that is
not inside a word or number (`3.5`, `o'clock`, `example.com`). Quotes, brackets, dashes and apostrophes are not counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from speechxfer.scoring.alignment import align_operations
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.terms import Occurrences
from speechxfer.text.normalise import DEFAULT_RULES, Normaliser

_CHUNK = 50_000  # utterances aligned together
_MARKS = re.compile(r"\.{3}|…|[。，？！：；、؟،؛।॥¿¡]|[.,?!:;](?!\w)")
_WITHOUT_CASE = Normaliser("default", "1", DEFAULT_RULES)
_WITH_CASE = Normaliser("default with case", "1", tuple(rule for rule in DEFAULT_RULES if rule.name != "case"))
_MARK = "\n"  # precedes a mark among the units: no word contains it


@dataclass
class PunctuationCounts:
    """Errors of punctuation marks.

    Attributes:
        marks: occurrences of each mark.
    """

    substitutions: int = 0
    marks: dict[str, Occurrences] = field(default_factory=dict)

    @property
    def total(self) -> Occurrences:
        return sum(self.marks.values(), start=Occurrences())

    @property
    def deletions(self) -> int:
        return self.total.reference - self.total.correct - self.substitutions

    @property
    def insertions(self) -> int:
        return self.total.hypothesis - self.total.correct - self.substitutions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def error_rate(self) -> float | None:
        """Errors over the marks of the references; None without any."""
        return self.errors / self.total.reference if self.total.reference else None

    def to_json(self) -> dict[str, Any]:
        return {
            "error_rate": self.error_rate,
            "substitutions": self.substitutions,
            "deletions": self.deletions,
            "insertions": self.insertions,
            "hits": self.total.correct,
            "reference_marks": self.total.reference,
            "marks": {mark: found.to_json() for mark, found in sorted(self.marks.items())},
        }


@dataclass
class CaseCounts:
    """Errors of letter case.

    Attributes:
        words: words with a case that are equal without it.
        missing: of these, words whose first letter that differs is a capital in the reference.
        added: of these, words whose first letter that differs is a capital in the hypothesis.
    """

    words: int = 0
    missing: int = 0
    added: int = 0

    @property
    def errors(self) -> int:
        return self.missing + self.added

    @property
    def error_rate(self) -> float | None:
        """Errors over the words; None without any."""
        return self.errors / self.words if self.words else None

    def to_json(self) -> dict[str, Any]:
        return {
            "error_rate": self.error_rate,
            "errors": self.errors,
            "words": self.words,
            "capitals_missing": self.missing,
            "capitals_added": self.added,
        }


def count_punctuation_and_case(
    references: Sequence[str], hypotheses: Sequence[str]
) -> tuple[PunctuationCounts, CaseCounts]:
    """Count errors of punctuation and case in raw texts, as defined above."""
    punctuation, case = PunctuationCounts(), CaseCounts()
    tally: dict[str, Counter[str]] = {side: Counter() for side in ("reference", "hypothesis", "correct")}
    with pause_gc():
        for start in range(0, len(references), _CHUNK):
            left, right = (
                [_split(text) for text in texts[start : start + _CHUNK]] for texts in (references, hypotheses)
            )
            letters = align_operations([[k for k, _ in units] for units in left], [[k for k, _ in u] for u in right])
            for operations, reference, hypothesis in zip(letters, left, right, strict=True):
                _count_utterance(operations, reference, hypothesis, punctuation, case, tally)
    marks = sorted({mark for counter in tally.values() for mark in counter})
    punctuation.marks = {
        mark: Occurrences(**{side: counter[mark] for side, counter in tally.items()}) for mark in marks
    }
    return punctuation, case


Unit = tuple[str, str]  # what is compared, and a word as written


def _count_utterance(
    operations: str,
    reference: Sequence[Unit],
    hypothesis: Sequence[Unit],
    punctuation: PunctuationCounts,
    case: CaseCounts,
    tally: dict[str, Counter[str]],
) -> None:
    left, right = iter(reference), iter(hypothesis)
    for operation in operations:
        key, written = next(left) if operation != "I" else ("", "")
        other_key, other_written = next(right) if operation != "D" else ("", "")
        if key.startswith(_MARK):
            tally["reference"][key[1:]] += 1
            tally["correct"][key[1:]] += operation == "="
        if other_key.startswith(_MARK):
            tally["hypothesis"][other_key[1:]] += 1
            punctuation.substitutions += operation == "S" and key.startswith(_MARK)
        elif operation == "=" and written.lower() != written.upper():
            _count_case(written, other_written, case)


def _count_case(reference: str, hypothesis: str, case: CaseCounts) -> None:
    case.words += 1
    differing = next((a for a, b in zip(reference, hypothesis, strict=False) if a != b), None)
    if differing is not None:
        case.missing += differing.isupper()
        case.added += not differing.isupper()


def _split(text: str) -> list[Unit]:
    """Split a text into words and marks."""
    return [unit for token in text.split() for unit in _split_token(token)]


@lru_cache(maxsize=200_000)
def _split_token(token: str) -> tuple[Unit, ...]:
    units, at = [], 0
    for found in _MARKS.finditer(token):
        units += [token[at : found.start()], found[0]]
        at = found.end()
    units.append(token[at:])
    result: list[Unit] = []
    for k, part in enumerate(units):
        if k % 2:
            result.append((_MARK + ("…" if part == "..." else part), ""))
        elif key := _WITHOUT_CASE(part):
            result.append((key, _WITH_CASE(part)))
    return tuple(result)
