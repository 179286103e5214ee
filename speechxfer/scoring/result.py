"""`score`: texts against texts, one typed result."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

from speechxfer.errors import UserError, nearest
from speechxfer.scoring import align as alignment
from speechxfer.scoring.counts import Counts, Interval, Part
from speechxfer.scoring.statistics import DRAWS, FEW, bootstrap_rate, jackknife_t, unit_sums
from speechxfer.text.normalise import Normaliser, get_normaliser

GROUP_DRAWS = 2_000  # a group's interval is for reading, not for a claim
BY_AUTO = (2, 200)  # distinct values of a column that `by="auto"` breaks down by


class Word(NamedTuple):
    """One position of an alignment: `=`, S, D or I, and its two sides ('' where there is none)."""

    operation: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Options:
    """What a score depends on besides its texts."""

    normaliser: Normaliser | Callable[[str], str]
    align: str = "min"
    unit: str = "word"
    seed: int = 0

    @property
    def normaliser_name(self) -> str:
        return getattr(self.normaliser, "name", getattr(self.normaliser, "__name__", "custom"))


@dataclass(frozen=True, eq=False)
class Score:
    """Utterances and their counts. Rates, groups and intervals are derived, once, when asked for.

    words: (utterances, 4) hits, substitutions, deletions, insertions.
    characters: (utterances, 2) errors, reference length.
    """

    ids: tuple[str, ...]
    references: tuple[str, ...]
    hypotheses: tuple[str, ...]
    speakers: tuple[str, ...] | None
    columns: dict[str, tuple[str, ...]]
    by_columns: tuple[str, ...]
    words: NDArray[np.int64]
    characters: NDArray[np.int64]
    options: Options
    notes: tuple[str, ...] = ()

    @cached_property
    def total(self) -> Part:
        counts = Counts.of(self.words, self.characters)
        return Part(counts, self._interval(np.arange(len(self.ids)), DRAWS))

    @property
    def counts(self) -> Counts:
        return self.total.counts

    @property
    def wer(self) -> float | None:
        return self.counts.wer

    @property
    def cer(self) -> float | None:
        return self.counts.cer

    @property
    def interval(self) -> Interval | None:
        return self.total.interval

    @cached_property
    def by(self) -> dict[str, dict[str, Part]]:
        """Column to value to result, values in order of their names."""
        return {column: self._groups(column) for column in self.by_columns}

    def _groups(self, column: str) -> dict[str, Part]:
        values, numbers = np.unique(np.array(self.columns[column], dtype=object).astype(str), return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(numbers, minlength=len(values)))[:-1])
        return {
            str(value): Part(Counts.of(self.words[r], self.characters[r]), self._interval(r, GROUP_DRAWS))
            for value, r in zip(values, rows, strict=True)
        }

    def _interval(self, rows: NDArray[np.int64], draws: int) -> Interval | None:
        pairs = np.column_stack([self.words[rows, 1:].sum(axis=1), self.words[rows, :3].sum(axis=1)])
        if len(rows) < 2 or not pairs[:, 1].sum():
            return None
        over, units = "utterances", len(rows)
        sums = pairs.astype(np.float64)
        if self.speakers is not None:
            codes = np.unique(self.speaker_codes[rows], return_inverse=True)[1]
            if codes.max() > 0:  # one speaker alone says nothing of others
                over, units, sums = "speakers", int(codes.max()) + 1, unit_sums(pairs, codes)
        few = over == "speakers" and units < FEW
        low, high = jackknife_t(sums) if few else bootstrap_rate(sums, draws=draws, seed=self.options.seed)
        return None if np.isnan(low) else Interval(low, high, over, units, "t" if few else "bootstrap")

    @cached_property
    def speaker_codes(self) -> NDArray[np.int64]:
        """(utterances,) a number for each speaker; the utterance's own number where none is known."""
        if self.speakers is None:
            return np.arange(len(self.ids))
        return np.unique(np.array(self.speakers, dtype=object).astype(str), return_inverse=True)[1]

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
        elif self.interval is not None and self.interval.units < FEW:
            found.append(f"only {self.interval.units} speakers: a t interval over the speaker jackknife is given")
        return tuple(found)

    def alignment(self, index: int) -> list[Word]:
        """The aligned words of one utterance, as normalised and counted."""
        reference, hypothesis = self.tokens(index)
        pairs, r, h = [], 0, 0
        for operation in alignment.operations(reference, hypothesis):
            left = "" if operation == "I" else reference[r]
            right = "" if operation == "D" else hypothesis[h]
            r, h = r + bool(operation != "I"), h + bool(operation != "D")
            pairs.append(Word(operation, left, right))
        return pairs

    def tokens(self, index: int) -> tuple[list[str], list[str]]:
        normalise = self.options.normaliser
        return normalise(self.references[index]).split(), normalise(self.hypotheses[index]).split()

    def summary(self) -> str:
        """The rate with its counts and interval, one line."""
        return self.total.summary()

    def to_json(self) -> dict[str, Any]:
        """The contract's keys, rates as fractions."""
        groups = {c: {value: part.to_json() for value, part in g.items()} for c, g in self.by.items()}
        return {**self.total.to_json(), "by": groups}

    def __add__(self, other: Score) -> Score:
        """Both sets of utterances as one; scored alike, with ids that do not meet."""
        if (self.options.normaliser_name, self.options.align, self.options.unit) != (
            other.options.normaliser_name,
            other.options.align,
            other.options.unit,
        ):
            raise UserError("scores made with different normalisers, alignments or units do not add up")
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
        )


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    ids: Sequence[str] | None = None,
    speakers: Sequence[str | None] | None = None,
    *,
    columns: Mapping[str, Sequence[Any]] | None = None,
    by: Sequence[str] | Literal["auto"] | None = None,
    normaliser: str | Callable[[str], str] = "default",
    align: str = "min",
    unit: str = "word",
    seed: int = 0,
) -> Score:
    """Score `hypotheses` against `references`, utterance by utterance.

    references, hypotheses: raw texts in the same order. ids: unique names, "1", "2", ... where not given.
    speakers: one name an utterance; intervals are then over speakers. columns: further values of each utterance.
    by: names of columns; "auto": every column (speaker too) with 2 to 200 distinct values; None: no breakdown.

    Raises UserError for lengths that differ, ids that repeat and unknown names.
    """
    texts = [unicodedata.normalize("NFC", text) for text in references]
    guesses = [unicodedata.normalize("NFC", text) for text in hypotheses]
    names = tuple(map(str, ids)) if ids is not None else tuple(map(str, range(1, len(texts) + 1)))
    kept = {name: tuple("" if v is None else str(v) for v in values) for name, values in (columns or {}).items()}
    who = tuple("" if s is None else str(s) for s in speakers) if speakers is not None else kept.get("speaker")
    if who is not None:
        kept = {"speaker": who, **kept}
        # an utterance of an unknown speaker is its own unit
        who = tuple(s or f"utterance {n}" for s, n in zip(who, names, strict=True)) if any(who) else None
    _check(texts, {"hypotheses": guesses, "ids": names, **kept}, names)
    chosen, notes = _breakdown(by, kept)

    options = Options(get_normaliser(normaliser) if isinstance(normaliser, str) else normaliser, align, unit, seed)
    left, right = [options.normaliser(t) for t in texts], [options.normaliser(t) for t in guesses]
    words = alignment.count([t.split() for t in left], [t.split() for t in right])
    left, right = [t.strip() for t in left], [t.strip() for t in right]
    distances = cpdist(left, right, scorer=Levenshtein.distance, dtype=np.int32) if left else np.zeros(0)
    characters = np.column_stack([distances, [len(t) for t in left]]).astype(np.int64)
    return Score(
        names, tuple(texts), tuple(guesses), who, kept, chosen, words, characters.reshape(-1, 2), options, notes
    )


def _check(references: Sequence[str], others: Mapping[str, Sequence[str]], ids: Sequence[str]) -> None:
    for name, values in others.items():
        if len(values) != len(references):
            raise UserError(
                f"{len(references)} references but {len(values)} {name}", fix="give one value for every utterance"
            )
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise UserError(f"utterance '{twice}' stands twice", fix="give every utterance its own id")


def _breakdown(
    by: Sequence[str] | Literal["auto"] | None, columns: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns to break down by, and a warning for each that is lacking."""
    if by is None:
        return (), ()
    if isinstance(by, str):
        if by != "auto":
            raise UserError(f"by='{by}' is neither 'auto' nor a list of columns", fix=f"by=['{by}']")
        low, high = BY_AUTO
        return tuple(name for name, values in columns.items() if low <= len(set(values)) <= high), ()
    lacking = [name for name in by if name not in columns]
    notes = [f"no column '{name}' to break the result down by{nearest(name, columns)}" for name in lacking]
    return tuple(name for name in by if name in columns), tuple(notes)
