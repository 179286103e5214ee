"""Recognition of listed words and phrases: recall, precision and F1 of their occurrences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechxfer.errors import Problems
from speechxfer.scoring.formats.transcript import iter_numbered_lines
from speechxfer.scoring.options import ScoringOptions
from speechxfer.scoring.result import AlignedWord, Score
from speechxfer.scoring.tokens import tokenize

Term = tuple[str, ...]


@dataclass(frozen=True)
class Occurrences:
    """How often something occurs. Can be added: `a + b`.

    Attributes:
        reference: occurrences in the references.
        hypothesis: occurrences in the hypotheses.
        correct: occurrences in the references that are aligned with the same in the hypothesis.
    """

    reference: int = 0
    hypothesis: int = 0
    correct: int = 0

    def __add__(self, other: Occurrences) -> Occurrences:
        return Occurrences(
            self.reference + other.reference, self.hypothesis + other.hypothesis, self.correct + other.correct
        )

    @property
    def recall(self) -> float | None:
        """Share of the reference's occurrences that are correct; None without any."""
        return self.correct / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """Share of the hypothesis's occurrences that are correct; None without any."""
        return self.correct / self.hypothesis if self.hypothesis else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of recall and precision; None without any occurrence."""
        total = self.reference + self.hypothesis
        return 2 * self.correct / total if total else None

    @property
    def error_rate(self) -> float | None:
        """Missed and wrongly inserted occurrences over the reference's occurrences; None without any."""
        errors = self.reference + self.hypothesis - 2 * self.correct
        return errors / self.reference if self.reference else None

    def to_json(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "hypothesis": self.hypothesis,
            "correct": self.correct,
            "error_rate": self.error_rate,
            "recall": self.recall,
            "precision": self.precision,
            "f1": self.f1,
        }


@dataclass(frozen=True)
class TermCounts:
    """Occurrences of each term, in the order of the list."""

    terms: dict[str, Occurrences]

    @property
    def total(self) -> Occurrences:
        return sum(self.terms.values(), start=Occurrences())

    def to_json(self) -> dict[str, Any]:
        return {**self.total.to_json(), "terms": {term: found.to_json() for term, found in self.terms.items()}}


def read_terms(path: Path, options: ScoringOptions) -> dict[str, Term]:
    """Read one word or phrase per line; lines that start with `#` are comments.

    Returns:
        each term as written, with its units after normalisation; terms that are then equal are listed once.

    Raises:
        UserError: naming the lines without a word after normalisation, and for a file without terms.
    """
    problems = Problems(f"{path} is not a list of terms", fix="write one word or phrase per line")
    found: dict[Term, str] = {}
    for number, line in iter_numbered_lines(path):
        term = line.strip()
        if term.startswith("#"):
            continue
        phrase = tuple(tokenize(options.normalise_phrase(term), options.unit))
        if phrase:
            found.setdefault(phrase, term)
        else:
            problems.add(f"line {number}: '{term}' has no words after normalisation")
    if not found and not problems:
        problems.add("it has no terms")
    problems.raise_if_any()
    return {term: phrase for phrase, term in found.items()}


def count_terms(score: Score, terms: Mapping[str, Term]) -> TermCounts:
    """Count the occurrences of each term.

    An occurrence in a reference is correct if each of its words is aligned with the same word, without an insertion
    between them. Terms that overlap are counted each.

    Args:
        terms: as `read_terms` returns them.
    """
    counts = dict.fromkeys(terms, Occurrences())
    by_first: dict[str, list[tuple[str, Term]]] = {}
    for term, phrase in terms.items():
        by_first.setdefault(phrase[0], []).append((term, phrase))
    for words in score.iter_alignments():
        # an optional word of sclite's notation that the other side lacks does not occur
        spoken = [k for k, word in enumerate(words) if word.reference and (word.operation != "=" or word.hypothesis)]
        for term, at in _find_terms([words[k].reference for k in spoken], by_first):
            correct = _is_correct(words, [spoken[i] for i in at])
            counts[term] += Occurrences(reference=1, correct=int(correct))
        recognised = [
            word.hypothesis for word in words if word.hypothesis and (word.operation != "=" or word.reference)
        ]
        for term, _ in _find_terms(recognised, by_first):
            counts[term] += Occurrences(hypothesis=1)
    return TermCounts(counts)


def _find_terms(tokens: Sequence[str], by_first: Mapping[str, list[tuple[str, Term]]]) -> Iterator[tuple[str, range]]:
    """Yield each occurrence: the term and its positions among `tokens`."""
    for i, token in enumerate(tokens):
        for term, phrase in by_first.get(token, ()):
            if tuple(tokens[i : i + len(phrase)]) == phrase:
                yield term, range(i, i + len(phrase))


def _is_correct(words: Sequence[AlignedWord], positions: Sequence[int]) -> bool:
    together = positions[-1] - positions[0] == len(positions) - 1
    return together and all(words[k].operation == "=" and words[k].reference == words[k].hypothesis for k in positions)
