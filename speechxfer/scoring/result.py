"""The result of scoring: utterances with their counts, from which rates, groups and intervals are derived."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechxfer.errors import UserError
from speechxfer.scoring.counts import Counts, GroupScore, Interval
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.groups import select_shown_columns, sort_values
from speechxfer.scoring.jiwer_output import make_word_output
from speechxfer.scoring.options import ScoringOptions
from speechxfer.scoring.statistics import (
    MIN_BOOTSTRAP_UNITS,
    NUM_RESAMPLES,
    bootstrap_rate,
    jackknife_t,
    number_values,
    sum_by_unit,
)

if TYPE_CHECKING:
    import jiwer

NUM_GROUP_RESAMPLES = 2_000  # fewer than for the overall interval: groups are for orientation only
MIN_GROUP_UNITS = 5  # with fewer speakers an interval is meaningless: Student's t with three degrees of freedom
_MAX_NAMED_GROUPS = 3  # groups named in a warning
_CHUNK = 10_000  # utterances normalised together
_ERRORS = re.compile("[SDI]")


class AlignedWord(NamedTuple):
    """One position of an alignment: operation (`=`, S, D or I), reference word and hypothesis word ('' if none)."""

    operation: str
    reference: str
    hypothesis: str


@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """Utterances and their counts. Rates, groups and intervals are computed on first access, then cached.

    Attributes:
        columns: one value per utterance, by column name.
        by_columns: the columns of the breakdown.
        words: (utterances, 4) hits, substitutions, deletions, insertions.
        characters: (utterances, 2) errors, reference length.
        operations: the alignment of each utterance, with a letter per position: `=`, S, D or I.
        notes: warnings found while scoring.
        auto: the breakdown's columns were chosen by `by="auto"`.
    """

    ids: tuple[str, ...]
    references: tuple[str, ...]
    hypotheses: tuple[str, ...]
    speakers: tuple[str, ...] | None
    columns: dict[str, tuple[str, ...]]
    by_columns: tuple[str, ...]
    words: NDArray[np.int64]
    characters: NDArray[np.int64]
    operations: list[str]
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
        """Results by column and value, values in sorted order."""
        return {column: self._groups(column) for column in self.by_columns}

    @cached_property
    def shown_columns(self) -> tuple[str, ...]:
        """The columns of the breakdown that are worth showing to a person, the speaker last; `by` has all of them."""
        names = [name for name in self.by_columns if name in self.columns]
        return select_shown_columns(names, self.columns, auto=self.auto)

    def group_rows(self, column: str) -> dict[str, NDArray[np.int64]]:
        """Return the row numbers of each value of a column, values in sorted order."""
        values, numbers = number_values(self.columns[column])
        order = np.argsort(numbers, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(numbers, minlength=len(values)))[:-1])
        found = dict(zip(values, rows, strict=True))
        return {value: found[value] for value in sort_values(values)}

    def _groups(self, column: str) -> dict[str, GroupScore]:
        rows = self.group_rows(column)
        codes, over = self.group_units(rows)
        return {
            value: GroupScore(
                Counts.from_arrays(self.words[r], self.characters[r]),
                self._interval(r, codes, over, NUM_GROUP_RESAMPLES, at_least=MIN_GROUP_UNITS),
            )
            for value, r in rows.items()
        }

    def group_units(self, rows: dict[str, NDArray[np.int64]]) -> tuple[NDArray[np.int64], str]:
        """Return the resampling units of a column's groups: speakers, or utterances if every group is one speaker.

        Args:
            rows: as `group_rows` returns them.

        Returns:
            (utterances,) unit numbers, and the name of the unit.
        """
        codes, over = self.resampling_units
        if all((codes[r] == codes[r[0]]).all() for r in rows.values()):
            return np.arange(len(self.ids)), "utterances"
        return codes, over

    def _interval(
        self, rows: NDArray[np.int64], codes: NDArray[np.int64], over: str, draws: int, at_least: int = 2
    ) -> Interval | None:
        """Return the interval of the utterances numbered `rows`, or None for fewer than `at_least` units.

        codes: (utterances,) unit number of every utterance of the score.
        """
        distinct, units = np.unique(codes[rows], return_inverse=True)
        pairs = np.column_stack([self.words[rows, 1:].sum(axis=1), self.words[rows, :3].sum(axis=1)])
        if len(distinct) < at_least or not pairs[:, 1].sum():
            return None
        sums = sum_by_unit(pairs, units)
        few = len(distinct) < MIN_BOOTSTRAP_UNITS
        low, high = jackknife_t(sums) if few else bootstrap_rate(sums, draws=draws, seed=self.options.seed)
        return None if np.isnan(low) else Interval(low, high, over, len(distinct), "t" if few else "bootstrap")

    @cached_property
    def resampling_units(self) -> tuple[NDArray[np.int64], str]:
        """Unit number of each utterance, and the name of the unit: speakers, or utterances if fewer than two speakers
        are known (one speaker says nothing about others)."""
        codes = self.speaker_codes
        if self.speakers is None or not len(codes) or codes.max() == 0:
            return np.arange(len(self.ids)), "utterances"
        return codes, "speakers"

    @cached_property
    def speaker_codes(self) -> NDArray[np.int64]:
        """(utterances,) number of each utterance's speaker, or of the utterance if no speakers are known."""
        if self.speakers is None:
            return np.arange(len(self.ids))
        return number_values(self.speakers)[1]

    def count_by_speaker(self) -> dict[str, Counts]:
        """Return the counts of each speaker (of each utterance if no speakers are known)."""
        names, codes = number_values(self.speakers or self.ids)
        both = np.column_stack([self.words, self.characters, np.ones(len(self.ids), dtype=np.int64)])
        return {n: Counts(*map(int, row)) for n, row in zip(names, sum_by_unit(both, codes), strict=True)}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Limitations that a reader must know before trusting the rates."""
        found = list(self.notes)
        if self.wer is None:
            found.append("no WER: the references have no words after normalisation")
        elif self.interval is not None and self.interval.over == "utterances":
            found.append(
                "fewer than two speakers are known, so the interval treats utterances as independent and is too narrow "
                "for new speakers: add a 'speaker' column or --utt2spk"
            )
        elif self.interval is not None and self.interval.units < MIN_BOOTSTRAP_UNITS:
            found.append(f"only {self.interval.units} speakers: the interval is approximate (jackknife t)")
        return (*found, *self._small_group_warnings())

    def _small_group_warnings(self) -> list[str]:
        """Name the shown groups that have too few speakers (utterances if a group is a speaker) for an interval."""
        found: dict[str, list[str]] = {}
        for column in self.shown_columns:
            rows = self.group_rows(column)
            codes, over = self.group_units(rows)
            small = [value or "(none)" for value, r in rows.items() if len(np.unique(codes[r])) < MIN_GROUP_UNITS]
            if small:
                more = f" and {len(small) - _MAX_NAMED_GROUPS} more" if len(small) > _MAX_NAMED_GROUPS else ""
                found.setdefault(over, []).append(f"{column} {', '.join(small[:_MAX_NAMED_GROUPS])}{more}")
        return [
            f"no interval from fewer than {MIN_GROUP_UNITS} {over}: {'; '.join(named)}" for over, named in found.items()
        ]

    def get_alignment(self, index: int) -> list[AlignedWord]:
        """Return the aligned words of one utterance, as normalised and counted."""
        return self.get_alignments([index])[0]

    def get_alignments(self, rows: Sequence[int] | None = None) -> list[list[AlignedWord]]:
        """Return the aligned words of the utterances numbered `rows` (default: all)."""
        with pause_gc():
            return list(self.iter_alignments(rows))

    def iter_alignments(self, rows: Sequence[int] | None = None) -> Iterator[list[AlignedWord]]:
        """Yield what `get_alignments` returns, one utterance at a time."""
        for operations, path, reference, hypothesis in self._iter_paths(rows):
            yield _pair_words(operations, reference, hypothesis) if path is None else path

    def iter_errors(self, rows: Sequence[int]) -> Iterator[tuple[list[AlignedWord], list[str]]]:
        """Yield the wrong words of the utterances numbered `rows`, each with the words of its hypothesis."""
        for operations, path, reference, hypothesis in self._iter_paths(rows):
            if path is None:
                yield _pair_errors(operations, reference, hypothesis), hypothesis
            else:
                yield [word for word in path if word.operation != "="], [w.hypothesis for w in path if w.hypothesis]

    def _iter_paths(
        self, rows: Sequence[int] | None
    ) -> Iterator[tuple[str, list[AlignedWord] | None, list[str], list[str]]]:
        """Yield the operations, the alignment if the texts are in sclite's notation, and the units of both sides."""
        chosen, sides = range(len(self.ids)) if rows is None else rows, (self.references, self.hypotheses)
        has_notation = self.options.reading is not None
        for start in range(0, len(chosen), _CHUNK):
            part = chosen[start : start + _CHUNK]
            left, right = self.options.tokenize_pairs(*([side[i] for i in part] for side in sides))
            for i, reference, hypothesis in zip(part, left, right, strict=True):
                words = None
                if has_notation:
                    path = self.options.align_notation(self.references[i], self.hypotheses[i], self.ids[i])
                    words = None if path is None else [AlignedWord(*step) for step in path]
                yield self.operations[i], words, reference, hypothesis

    def get_tokens(self, index: int) -> tuple[list[str], list[str]]:
        """Return the units of both sides of one utterance, as normalised."""
        (reference,), (hypothesis,) = self.options.tokenize_pairs([self.references[index]], [self.hypotheses[index]])
        return reference, hypothesis

    def summary(self) -> str:
        """Return the rate with its counts and interval, in one line."""
        return self.overall.summary()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"

    def to_json(self) -> dict[str, Any]:
        """Return the overall result and the breakdown as JSON values, rates as fractions."""
        by = {column: {value: group.to_json() for value, group in groups.items()} for column, groups in self.by.items()}
        return {**self.overall.to_json(), "by": by}

    def __add__(self, other: Score) -> Score:
        """Pool the utterances of two scores. Raises UserError for different options or shared ids."""
        if self.options != other.options:
            raise UserError("scores made with different options cannot be added")
        if shared := set(self.ids) & set(other.ids):
            raise UserError(f"both scores contain utterance '{min(shared)}'")
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
            operations=self.operations + other.operations,
            options=self.options,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
            auto=self.auto and other.auto,
        )

    def to_jiwer(self) -> jiwer.WordOutput:
        """Return jiwer's `WordOutput`, with the words as normalised. Raises UserError for sclite's notation."""
        if self.options.reading is not None:
            raise UserError("jiwer has no alternatives", fix="score the texts without sclite's notation")
        sides = self.options.tokenize_pairs(self.references, self.hypotheses)
        return make_word_output(*sides, self.operations, self.counts)

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with one row per utterance: id, texts, counts, speaker and the other columns."""
        import pandas

        counts = dict(zip(("hits", "substitutions", "deletions", "insertions"), self.words.T, strict=True))
        texts = {"id": self.ids, "reference": self.references, "hypothesis": self.hypotheses}
        return pandas.DataFrame({**texts, **counts, **{k: v for k, v in self.columns.items() if k not in texts}})


def _pair_words(operations: str, reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedWord]:
    found, r, h = [], 0, 0
    for operation in operations:
        left = "" if operation == "I" else reference[r]
        right = "" if operation == "D" else hypothesis[h]
        r, h = r + (operation != "I"), h + (operation != "D")
        found.append(AlignedWord(operation, left, right))
    return found


def _pair_errors(operations: str, reference: Sequence[str], hypothesis: Sequence[str]) -> list[AlignedWord]:
    """Return what `_pair_words` returns, without the hits."""
    found, num_deleted, num_inserted = [], 0, 0
    for match in _ERRORS.finditer(operations):
        at, operation = match.start(), match[0]
        left = "" if operation == "I" else reference[at - num_inserted]
        right = "" if operation == "D" else hypothesis[at - num_deleted]
        num_deleted, num_inserted = num_deleted + (operation == "D"), num_inserted + (operation == "I")
        found.append(AlignedWord(operation, left, right))
    return found
