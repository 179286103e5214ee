"""Error counts, and the rates and intervals derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Counts:
    """Counts of words (or of the chosen unit), summed over utterances. Can be added: `a + b`."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    character_errors: int = 0
    reference_characters: int = 0
    utterances: int = 0

    @classmethod
    def from_arrays(cls, words: NDArray[np.int64], characters: NDArray[np.int64]) -> Counts:
        """Sum (utterances, 4) word counts and (utterances, 2) character errors and reference lengths."""
        sums = np.concatenate([words.sum(axis=0), characters.sum(axis=0)])
        hits, substitutions, deletions, insertions, errors, length = sums.tolist()
        return cls(hits, substitutions, deletions, insertions, errors, length, len(words))

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_words(self) -> int:
        return self.hits + self.substitutions + self.deletions

    @property
    def wer(self) -> float | None:
        """Word error rate: errors over reference words; None without reference words."""
        return self.errors / self.reference_words if self.reference_words else None

    @property
    def mer(self) -> float | None:
        """Match error rate: errors over all aligned positions (Morris et al., 2004); None without reference words."""
        return self.errors / (self.hits + self.errors) if self.reference_words else None

    @property
    def wil(self) -> float | None:
        """Word information lost: 1 - hits² / (reference words * hypothesis words); None without reference words."""
        if not self.reference_words:
            return None
        hypothesis_words = self.hits + self.substitutions + self.insertions
        return 1 - self.hits**2 / (self.reference_words * hypothesis_words) if hypothesis_words else 1.0

    @property
    def cer(self) -> float | None:
        """Character error rate; None without reference characters."""
        return self.character_errors / self.reference_characters if self.reference_characters else None


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval of a rate.

    Attributes:
        over: the resampling unit, speakers or utterances.
        units: number of units.
        method: "bootstrap", or "t" (Student's t over the jackknife, for few units).
    """

    low: float
    high: float
    over: str
    units: int
    method: str


@dataclass(frozen=True)
class GroupScore:
    """The result of a group of utterances: all of them, or those with one value of a column."""

    counts: Counts
    interval: Interval | None

    @property
    def wer(self) -> float | None:
        return self.counts.wer

    @property
    def cer(self) -> float | None:
        return self.counts.cer

    def to_json(self) -> dict[str, Any]:
        c, i = self.counts, self.interval
        return {
            "wer": c.wer,
            "cer": c.cer,
            "mer": c.mer,
            "wil": c.wil,
            "substitutions": c.substitutions,
            "deletions": c.deletions,
            "insertions": c.insertions,
            "hits": c.hits,
            "reference_words": c.reference_words,
            "utterances": c.utterances,
            "interval": None if i is None else [i.low, i.high],
            "interval_over": None if i is None else i.over,
            "interval_units": None if i is None else i.units,
            "interval_method": None if i is None else i.method,
        }

    def summary(self) -> str:
        """Return e.g. `21.5 % [3,395 / 15,790: 2,300 sub, 500 del, 595 ins], 95 % 19.8 to 23.4 over 125 speakers`."""
        c = self.counts
        tally = f"{c.substitutions:,} sub, {c.deletions:,} del, {c.insertions:,} ins"
        if c.wer is None:
            return f"no WER: no reference words in {c.utterances:,} utterances [{tally}]"
        text = f"{100 * c.wer:.1f} % [{c.errors:,} / {c.reference_words:,}: {tally}]"
        if self.interval is not None:
            low, high = 100 * self.interval.low, 100 * self.interval.high
            text += f", 95 % {low:.1f} to {high:.1f} over {self.interval.units:,} {self.interval.over}"
        return text
