"""One typed result: utterances with their counts; rates, groups and intervals are derived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechxfer.errors import UserError
from speechxfer.scoring import alignment as alignment
from speechxfer.scoring import notation as markup
from speechxfer.scoring.counts import Counts, GroupScore, Interval
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.groups import make_small_group_warnings, select_shown_columns
from speechxfer.scoring.statistics import (
    MIN_BOOTSTRAP_UNITS,
    NUM_RESAMPLES,
    bootstrap_rate,
    jackknife_t,
    number_values,
    sum_by_unit,
)
from speechxfer.scoring.tokens import join_compounds, tokenize

GROUP_DRAWS = 2_000  # a group's interval is for reading, not for a claim
GROUP_UNITS = 5  # speakers of a group below which an interval would say nothing: t with three degrees of freedom


class AlignedWord(NamedTuple):
    """One position of an alignment: `=`, S, D or I, and its two sides ('' where there is none)."""

    operation: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class ScoringOptions:
    """What a score depends on besides its texts; `score`'s arguments say what each is."""

    normaliser: Callable[[str], str]
    align: str = "min"
    unit: str = "word"
    notation: bool = False
    compounds: bool = False
    seed: int = 0

    @property
    def normaliser_name(self) -> str:
        return getattr(self.normaliser, "name", getattr(self.normaliser, "__name__", "custom"))

    def to_json(self) -> dict[str, Any]:
        return {
            "normaliser": self.normaliser_name,
            "normaliser_version": getattr(self.normaliser, "version", None),
            "align": self.align,
            "unit": self.unit,
            "notation": self.notation,
            "compounds": self.compounds,
            "seed": self.seed,
        }

    def align_notation(self, reference: str, hypothesis: str, name: str) -> list[tuple[str, str, str]]:
        """(operation, reference word, hypothesis word) through a reference in sclite's notation."""
        network = markup.parse_notation(reference, self.normaliser, where=f"reference of '{name}'")
        return markup.align_network(network, self.normaliser(hypothesis).split(), self.align)

    def tokenize_pair(self, reference: str, hypothesis: str) -> tuple[list[str], list[str]]:
        left, right = (tokenize(self.normaliser(text), self.unit) for text in (reference, hypothesis))
        return left, join_compounds(left, right) if self.compounds else right


@dataclass(frozen=True, eq=False)
class Score:
    """Utterances and their counts. Rates, groups and intervals are derived, once, when asked for.

    words: (utterances, 4) hits, substitutions, deletions, insertions.
    characters: (utterances, 2) errors, reference length.
    auto: the columns of the breakdown were not asked for one by one.
    """

    ids: tuple[str, ...]
    references: tuple[str, ...]
    hypotheses: tuple[str, ...]
    speakers: tuple[str, ...] | None
    columns: dict[str, tuple[str, ...]]
    by_columns: tuple[str, ...]
    words: NDArray[np.int64]
    characters: NDArray[np.int64]
    options: ScoringOptions
    notes: tuple[str, ...] = ()
    auto: bool = False

    @cached_property
    def overall(self) -> GroupScore:
        counts = Counts.from_arrays(self.words, self.characters)
        return GroupScore(counts, self._interval(np.arange(len(self.ids)), *self.resampling_units, NUM_RESAMPLES))

    @property
    def counts(self) -> Counts:
        return self.overall.counts

    @property
    def wer(self) -> float | None:
        return self.counts.wer

    @property
    def cer(self) -> float | None:
        return self.counts.cer

    @property
    def interval(self) -> Interval | None:
        return self.overall.interval

    @cached_property
    def by(self) -> dict[str, dict[str, GroupScore]]:
        """Column to value to result, values in order of their names."""
        return {column: self._groups(column) for column in self.by_columns}

    @cached_property
    def select_shown_columns(self) -> tuple[str, ...]:
        """The columns of the breakdown that a person would read, speakers last; all of them stand in `by`."""
        return select_shown_columns(self)

    def group_rows(self, column: str) -> dict[str, NDArray[np.int64]]:
        """The rows of every value of a column, values in order of their names."""
        values, numbers = number_values(self.columns[column])
        order = np.argsort(numbers, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(numbers, minlength=len(values)))[:-1])
        return dict(zip(values, parts, strict=True))

    def _groups(self, column: str) -> dict[str, GroupScore]:
        rows = self.group_rows(column)
        codes, over = self.group_units(rows)
        return {
            value: GroupScore(
                Counts.from_arrays(self.words[r], self.characters[r]),
                self._interval(r, codes, over, GROUP_DRAWS, at_least=GROUP_UNITS),
            )
            for value, r in rows.items()
        }

    def group_units(self, rows: dict[str, NDArray[np.int64]]) -> tuple[NDArray[np.int64], str]:
        """What a column's groups are resampled by: speakers; utterances where every group is of one speaker."""
        codes, over = self.resampling_units
        if all((codes[r] == codes[r[0]]).all() for r in rows.values()):
            return np.arange(len(self.ids)), "utterances"
        return codes, over

    def _interval(
        self, rows: NDArray[np.int64], codes: NDArray[np.int64], over: str, draws: int, at_least: int = 2
    ) -> Interval | None:
        """The interval of the utterances numbered `rows`; codes: (utterances,) the unit of each of all utterances."""
        found, units = np.unique(codes[rows], return_inverse=True)
        pairs = np.column_stack([self.words[rows, 1:].sum(axis=1), self.words[rows, :3].sum(axis=1)])
        if len(found) < at_least or not pairs[:, 1].sum():
            return None
        sums = sum_by_unit(pairs, units)
        few = len(found) < MIN_BOOTSTRAP_UNITS
        low, high = jackknife_t(sums) if few else bootstrap_rate(sums, draws=draws, seed=self.options.seed)
        return None if np.isnan(low) else Interval(low, high, over, len(found), "t" if few else "bootstrap")

    @cached_property
    def resampling_units(self) -> tuple[NDArray[np.int64], str]:
        """What is resampled, as a number for each utterance, and its name: speakers, or utterances where fewer than
        two speakers are known (one speaker alone says nothing of others)."""
        codes = self.speaker_codes
        if self.speakers is None or not len(codes) or codes.max() == 0:
            return np.arange(len(self.ids)), "utterances"
        return codes, "speakers"

    @cached_property
    def speaker_codes(self) -> NDArray[np.int64]:
        """(utterances,) a number for each speaker; the utterance's own number where none is known."""
        if self.speakers is None:
            return np.arange(len(self.ids))
        return number_values(self.speakers)[1]

    def count_by_speaker(self) -> dict[str, Counts]:
        """The counts of every speaker (of every utterance where none is known)."""
        names, codes = number_values(self.speakers or self.ids)
        both = np.column_stack([self.words, self.characters, np.ones(len(self.ids), dtype=np.int64)])
        return {n: Counts(*map(int, row)) for n, row in zip(names, sum_by_unit(both, codes), strict=True)}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the figures."""
        found = list(self.notes)
        if self.wer is None:
            found.append("no WER: the references hold no words after normalising")
        elif self.interval is not None and self.interval.over == "utterances":
            found.append(
                "the interval is over utterances: without two known speakers it is too narrow for new speakers"
            )
        elif self.interval is not None and self.interval.units < MIN_BOOTSTRAP_UNITS:
            found.append(f"only {self.interval.units} speakers: a t interval over the speaker jackknife is given")
        return (*found, *make_small_group_warnings(self, GROUP_UNITS))

    def get_alignment(self, index: int) -> list[AlignedWord]:
        """The aligned words of one utterance, as normalised and counted."""
        return self.get_alignments([index])[0]

    def get_alignments(self, rows: Sequence[int] | None = None) -> list[list[AlignedWord]]:
        """The aligned words of the utterances numbered `rows` (all of them by default)."""
        with pause_gc():
            return self._alignments(range(len(self.ids)) if rows is None else rows)

    def _alignments(self, chosen: Sequence[int]) -> list[list[AlignedWord]]:
        sides = [self.options.tokenize_pair(self.references[i], self.hypotheses[i]) for i in chosen]
        letters = alignment.align_operations([r for r, _ in sides], [h for _, h in sides], self.options.align)
        found = []
        for i, (reference, hypothesis), operations in zip(chosen, sides, letters, strict=True):
            if self.options.notation and markup.has_markup(self.references[i]):
                path = self.options.align_notation(self.references[i], self.hypotheses[i], self.ids[i])
                found.append([AlignedWord(*step) for step in path])
            else:
                found.append(_words(operations, reference, hypothesis))
        return found

    def get_tokens(self, index: int) -> tuple[list[str], list[str]]:
        """The units of both sides of one utterance, as normalised."""
        return self.options.tokenize_pair(self.references[index], self.hypotheses[index])

    def summary(self) -> str:
        """The rate with its counts and interval, one line."""
        return self.overall.summary()

    def to_json(self) -> dict[str, Any]:
        """The contract's keys, rates as fractions."""
        groups = {c: {value: part.to_json() for value, part in g.items()} for c, g in self.by.items()}
        return {**self.overall.to_json(), "by": groups}

    def __add__(self, other: Score) -> Score:
        """Both sets of utterances as one; scored alike, with ids that do not meet."""
        if self.options != other.options:
            raise UserError("scores made with different options do not add up")
        if shared := set(self.ids) & set(other.ids):
            raise UserError(f"both scores hold utterance '{min(shared)}'")
        columns = {name: self.columns[name] + other.columns[name] for name in self.columns if name in other.columns}
        both = self.speakers is not None and other.speakers is not None
        return Score(
            ids=self.ids + other.ids,
            references=self.references + other.references,
            hypotheses=self.hypotheses + other.hypotheses,
            speakers=(self.speakers or ()) + (other.speakers or ()) if both else None,
            columns=columns,
            by_columns=tuple(c for c in self.by_columns if c in columns),
            words=np.concatenate([self.words, other.words]),
            characters=np.concatenate([self.characters, other.characters]),
            options=self.options,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
            auto=self.auto and other.auto,
        )

    def to_pandas(self) -> Any:
        """A DataFrame of one row an utterance: id, texts, counts, speaker and the other columns."""
        import pandas

        counts = dict(zip(("hits", "substitutions", "deletions", "insertions"), self.words.T, strict=True))
        texts = {"id": self.ids, "reference": self.references, "hypothesis": self.hypotheses}
        return pandas.DataFrame({**texts, **counts, **{k: v for k, v in self.columns.items() if k not in texts}})


def _words(operations: str, reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedWord]:
    found, r, h = [], 0, 0
    for operation in operations:
        left = "" if operation == "I" else reference[r]
        right = "" if operation == "D" else hypothesis[h]
        r, h = r + (operation != "I"), h + (operation != "D")
        found.append(AlignedWord(operation, left, right))
    return found
