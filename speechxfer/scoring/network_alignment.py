"""Alignment of two networks of words (see `networks`) along their cheapest paths.

The table of Wagner & Fischer (1974) has a row for each state of the reference and a column for each state of the
hypothesis. A row is filled at once: what it takes from other rows is known, and its insertions are a running minimum.
Only cells are filled that a path within a limit of cost can pass (Ukkonen, 1985); the limit is raised until it contains
the cheapest path.

Ties are broken as by sclite: a match or substitution before an insertion before a deletion, the first of several
alternatives. sclite adds its costs in single precision, in which the thousandths of the empty word `@` decide between
paths of equal cost: tables of up to a million cells with empty words are added in the same way. Other costs are
integers, and exact.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from speechxfer.errors import UserError
from speechxfer.scoring.alignment import DELETION, HIT, INSERTION, SUBSTITUTION
from speechxfer.scoring.networks import Network, State

Step = tuple[str, str, str]  # operation, reference word, hypothesis word
Array = NDArray[Any]

_DIAGONAL, _INSERT, _DELETE = 0, 1, 2  # codes of the traceback
_MAX_TRACE_BYTES = 600 << 20
_MAX_SINGLE_PRECISION_CELLS = 1_000_000
_MIN_BANDED_CELLS = 100_000  # smaller tables are filled completely
_MIN_KEPT_STATES = 200  # words of a text whose alignment is kept
_MAX_KEPT = 16
_FIRST_LIMIT = 32  # words that may be inserted or deleted in the first attempt
_INFINITY: dict[Any, float] = {np.float32: np.inf, np.int32: 1 << 29, np.int64: 1 << 60}


@dataclass(frozen=True)
class _Costs:
    """Costs of one step. indel: insertion or deletion of a word; optional, null: of an optional or an empty word."""

    substitution: float
    indel: float
    optional: float
    null: float

    def of_gap(self, state: State) -> float:
        """Return the cost of inserting or deleting a word."""
        return self.null if state.is_null else self.optional if state.is_optional else self.indel


_INTEGER_COSTS = {"sclite": _Costs(4000, 3000, 2000, 1), "min": _Costs(1, 1, 0, 0)}
_SINGLE_PRECISION_COSTS = _Costs(4.0, 3.0, 2.0, 0.001)  # of sclite


def align_networks(reference: Network, hypothesis: Network, method: str) -> list[Step]:
    """Align the cheapest pair of paths.

    Returns:
        (operation, reference word, hypothesis word); an optional word that the other side lacks is a hit with ''.

    Raises:
        UserError: if the table is too large for the memory.
    """
    is_long = max(len(reference.states), len(hypothesis.states)) >= _MIN_KEPT_STATES
    return list((_align_and_keep if is_long else _align)(reference, hypothesis, method))


@lru_cache(maxsize=_MAX_KEPT)
def _align_and_keep(reference: Network, hypothesis: Network, method: str) -> tuple[Step, ...]:
    """Align long texts once: a score, its analysis and most rules of the normaliser need the same alignment."""
    return _align(reference, hypothesis, method)


def _align(reference: Network, hypothesis: Network, method: str) -> tuple[Step, ...]:
    cells = (len(reference.states) + 1) * (len(hypothesis.states) + 1)
    has_nulls = any(state.is_null for network in (reference, hypothesis) for state in network.states)
    singly = method == "sclite" and has_nulls and cells <= _MAX_SINGLE_PRECISION_CELLS
    costs = _SINGLE_PRECISION_COSTS if singly else _INTEGER_COSTS[method]
    enough = len(reference.states) + len(hypothesis.states) + 1
    integers = np.int32 if enough * costs.substitution < _INFINITY[np.int32] else np.int64
    columns = _Columns(hypothesis, costs, np.float32 if singly else integers)
    rows = _Lengths.of(reference)
    limit = enough
    if cells > _MIN_BANDED_CELLS:
        enough = min(enough, _find_upper_limit(reference, hypothesis, costs))
        limit = min(enough, max(_FIRST_LIMIT, 2 * rows.least_difference(columns.lengths)))
    while True:
        table = _Table(reference, columns, costs, rows.find_band(columns.lengths, limit))
        cost = table.fill()
        if cost <= limit * costs.indel or limit >= enough:
            return tuple(table.trace_path())[::-1]
        if cost < columns.infinity:
            enough = min(enough, math.ceil(cost / costs.indel))  # of a path, if not of the cheapest
        limit = min(enough, 4 * limit)


def _find_upper_limit(reference: Network, hypothesis: Network, costs: _Costs) -> int:
    """Return a limit that the cheapest paths are within: the cost of the first alternatives."""
    sides = [network.list_first_path() for network in (reference, hypothesis)]
    left, right = ([state.word for state in side if not state.is_null] for side in sides)
    nulls = sum(state.is_null for side in sides for state in side)
    cost = Levenshtein.distance(left, right, score_hint=_FIRST_LIMIT) * costs.substitution + nulls * costs.null
    return math.ceil(cost / costs.indel) + 1


@dataclass(frozen=True)
class _Lengths:
    """Fewest and most words from the start to each state, and from there to the end; index 0 is the start.

    The fewest are without optional words.
    """

    fewest: Array
    most: Array
    fewest_left: Array
    most_left: Array

    @classmethod
    def of(cls, network: Network) -> _Lengths:
        states = network.states
        size = len(states) + 1
        fewest, most = [0] * size, [0] * size
        for i, state in enumerate(states, start=1):
            is_word = state.word is not None and not state.is_null
            fewest[i] = min(fewest[b + 1] for b in state.before) + (is_word and not state.is_optional)
            most[i] = max(most[b + 1] for b in state.before) + is_word
        fewest_left, most_left = [size] * size, [0] * size
        fewest_left[network.last + 1] = 0
        for i, state in reversed(list(enumerate(states, start=1))):
            is_word = state.word is not None and not state.is_null
            for b in state.before:
                needed = fewest_left[i] + (is_word and not state.is_optional)
                fewest_left[b + 1] = min(fewest_left[b + 1], needed)
                most_left[b + 1] = max(most_left[b + 1], most_left[i] + is_word)
        return cls(*(np.array(values, dtype=np.int64) for values in (fewest, most, fewest_left, most_left)))

    def least_difference(self, other: _Lengths) -> int:
        """Return the number of words that must be inserted or deleted."""
        first, second = self.fewest_left[0] - other.most_left[0], other.fewest_left[0] - self.most_left[0]
        return max(0, int(first), int(second))

    def find_band(self, columns: _Lengths, limit: int) -> tuple[Array, Array]:
        """Return the first column of each row, and the one after the last, that paths can pass.

        Such paths insert and delete at most `limit` words. Columns between two of alternatives may be included too.
        """
        # bounds that rise or fall from column to column, so that they can be searched
        most, fewest = np.maximum.accumulate(columns.most), np.minimum.accumulate(columns.fewest[::-1])[::-1]
        most_left = np.maximum.accumulate(columns.most_left[::-1])[::-1]
        fewest_left = np.minimum.accumulate(columns.fewest_left)

        def is_within(column: Array) -> Array:
            """Whether deletions before the column and insertions after it are not too many."""
            before = np.maximum(0, self.fewest - most[column])
            return before + np.maximum(0, fewest_left[column] - self.most_left) <= limit

        def is_beyond(column: Array) -> Array:
            """Whether insertions before the column and deletions after it are too many."""
            before = np.maximum(0, fewest[column] - self.most)
            return before + np.maximum(0, self.fewest_left - most_left[column]) > limit

        size, width = len(self.most), len(columns.most)
        first, end = _search(is_within, size, width), _search(is_beyond, size, width)
        return first, np.maximum(first, end)


def _search(condition: Any, size: int, width: int) -> Array:
    """Return for each row the first column from which on the condition holds, by bisection of all rows at once."""
    low, high = np.zeros(size, dtype=np.int64), np.full(size, width, dtype=np.int64)
    while (is_open := low < high).any():
        middle = (low + high) // 2
        holds = condition(np.minimum(middle, width - 1))
        low, high = np.where(is_open & ~holds, middle + 1, low), np.where(is_open & holds, middle, high)
    return low


class _Columns:
    """The hypothesis as columns of the table: column 0 is the start, column i + 1 is state i.

    Attributes:
        parts: in order, chains (first, end, source) of words that follow each other, the first of them after `source`,
            and junctions (column, sources).
        gap: cost of inserting each column's word.
        gap_sum: running sum of `gap`.
    """

    def __init__(self, network: Network, costs: _Costs, number_type: Any) -> None:
        self.network, self.width = network, len(network.states) + 1
        self.lengths = _Lengths.of(network)
        self.infinity, self.number_type = _INFINITY[number_type], number_type
        self.parts: list[tuple[Any, ...]] = []
        self.words = [""] + [state.written for state in network.states]
        vocabulary: dict[str, int] = {}
        numbers, gaps, self.fragments = [-2], [0.0], list[int]()
        for column, state in enumerate(network.states, start=1):
            is_word = state.word is not None
            if not is_word:
                self.parts.append((column, np.array(state.before, dtype=np.int64) + 1))
            elif self.parts and len(last := self.parts[-1]) == 3 and last[1] == column == state.before[0] + 2:
                self.parts[-1] = (last[0], column + 1, last[2])
            else:
                self.parts.append((column, column + 1, state.before[0] + 1))
            gaps.append(costs.of_gap(state) if is_word else 0.0)
            plain = is_word and not state.is_null and not state.fragment
            numbers.append(vocabulary.setdefault(self.words[column], len(vocabulary)) if plain else -2)
            if state.fragment:
                self.fragments.append(column)
        self.vocabulary, self.numbers = vocabulary, np.array(numbers, dtype=np.int64)
        self.substitution = costs.substitution
        self.gap: Array = np.array(gaps, dtype=number_type)
        self.gap_sum = np.cumsum(self.gap)
        self.unspoken = np.array([False] + [state.word is None or state.is_null for state in network.states])
        self.starts = [part[0] for part in self.parts]
        widest = max([2, *(len(state.before) for state in network.states)])
        self.code_type = np.min_scalar_type(widest)

    def list_parts(self, first: int, end: int) -> list[tuple[int, int, int] | tuple[int, Array]]:
        """Return the parts with columns from first to end."""
        if first >= end:
            return []
        parts = self.parts[max(0, bisect_right(self.starts, first) - 1) : bisect_right(self.starts, end - 1)]
        if parts and (parts[0][0] if len(parts[0]) == 2 else parts[0][1] - 1) < first:
            return parts[1:]
        return parts

    def find_changes(self, state: State, first: int, end: int) -> Array:
        """Return the cost of a word of the reference against each column's, for columns first to end."""
        if state.is_null:
            return np.full(end - first, self.infinity, dtype=self.number_type)
        is_match, zero = self._find_matches(state, first, end), self.number_type(0)
        changes: Array = np.where(is_match, zero, self.number_type(self.substitution))
        changes[self.unspoken[first:end]] = self.infinity
        return changes

    def _find_matches(self, state: State, first: int, end: int) -> Array:
        if state.fragment:
            test = str.startswith if state.fragment == "start" else str.endswith
            return np.array([test(word, state.word or "") for word in self.words[first:end]], dtype=bool)
        matches: Array = self.numbers[first:end] == self.vocabulary.get(state.word or "", -1)
        for column in self.fragments:
            if first <= column < end:
                matches[column - first] = is_match(state, self.network.states[column - 1])
        return matches

    def scan(self, candidates: Array, before: Any, start: int, stop: int) -> Array:
        """Return the costs of the words of a chain.

        Args:
            candidates: costs of reaching columns start to stop other than by an insertion.
            before: cost of the column before the first.
        """
        if self.number_type is not np.float32:
            offsets = self.gap_sum[start:stop]
            costs = candidates - offsets
            costs[0] = min(costs[0], before + self.gap[start] - offsets[0])
            return np.minimum.accumulate(costs, out=costs) + offsets
        costs = np.empty_like(candidates)
        for k, (candidate, gap) in enumerate(zip(candidates, self.gap[start:stop], strict=True)):
            costs[k] = before = min(candidate, before + gap)
        return costs


def is_match(reference: State, hypothesis: State) -> bool:
    """Return whether a spoken word is correct, as sclite with `-F` compares them."""
    if reference.fragment:
        test = str.startswith if reference.fragment == "start" else str.endswith
        return test(hypothesis.written, reference.word or "")
    word = reference.word or ""
    if hypothesis.fragment == "start":
        return word.startswith(hypothesis.word or "")
    return word.endswith(hypothesis.word or "") if hypothesis.fragment else word == hypothesis.word


class _Table:
    """The table of costs, of which only the rows still needed are kept, and the steps back through it."""

    def __init__(self, reference: Network, columns: _Columns, costs: _Costs, band: tuple[Array, Array]) -> None:
        self.reference, self.columns, self.costs = reference, columns, costs
        self.first, self.end = (side.tolist() for side in band)
        cells = int((band[1] - band[0]).sum())
        if cells * columns.code_type.itemsize > _MAX_TRACE_BYTES:
            longest = max(len(reference.states), columns.width - 1)
            raise UserError(
                f"an utterance of {longest:,} words with alternatives has too many errors to align",
                fix="split it into segments",
            )
        self.trace: list[Array] = []  # codes of words, numbers of the sources of junctions; index 0 is the start
        self.rows: dict[int, Array] = {}  # costs by state, -1 is the start
        self.uses = [0] * (len(reference.states) + 1)
        self.junction: dict[int, tuple[int, int]] = {}  # state: (junction that it leads to, its number there)
        for i, state in enumerate(reference.states):
            for number, before in enumerate(state.before):
                self.uses[before + 1] += state.word is not None
                if state.word is None:
                    self.junction[before] = (i, number)
        self.choices: dict[int, Array] = {}  # by junction, number of the cheapest source so far
        self.highest: dict[int, int] = {}  # by junction, highest number of a source so far

    def fill(self) -> float:
        """Fill the table and return the cost of the cheapest pair of paths."""
        states = self.reference.states
        self._finish_row(-1, *self._fill_row(-1, None))
        for i, state in enumerate(states):
            if state.word is None:
                self._finish_row(i, self.rows.pop(i), self.choices.pop(i))
                continue
            self._finish_row(i, *self._fill_row(i, state))
            self.uses[state.before[0] + 1] -= 1
            if not self.uses[state.before[0] + 1]:
                del self.rows[state.before[0]]
        return float(self.rows[self.reference.last][self.columns.network.last + 1])

    def _finish_row(self, i: int, row: Array, codes: Array) -> None:
        """Store the steps of a row, and its costs where they are needed: in its junction, or for the words after it."""
        self.trace.append(codes)
        junction, number = self.junction.get(i, (None, 0))
        if junction is None:
            self.rows[i] = row
            return
        here = slice(self.first[junction + 1], self.end[junction + 1])
        if junction not in self.rows:
            number_type = np.min_scalar_type(len(self.reference.states[junction].before))
            self.rows[junction], self.highest[junction] = row.copy(), number
            self.choices[junction] = np.full(here.stop - here.start, number, number_type)
            return
        best, choices = self.rows[junction][here], self.choices[junction]
        is_better = row[here] < best
        if number < self.highest[junction]:  # equal costs: the first in the junction's order
            is_better |= (row[here] == best) & (choices > number)
        self.highest[junction] = max(number, self.highest[junction])
        np.copyto(best, row[here], where=is_better)
        choices[is_better] = number

    def _fill_row(self, i: int, state: State | None) -> tuple[Array, Array]:
        """Return the costs of all columns, and the codes of the band's; without a state, of the start."""
        columns = self.columns
        first, end = self.first[i + 1], self.end[i + 1]
        row: Array = np.full(columns.width, columns.infinity, dtype=columns.number_type)
        codes = np.full(end - first, _DELETE, dtype=columns.code_type)
        above = row if state is None else self.rows[state.before[0]]
        if state is None:
            deleted = changed = row[first:end].copy()
            deleted[:1] = 0
        else:
            deleted = above[first:end] + columns.number_type(self.costs.of_gap(state))
            changed = columns.find_changes(state, first, end)
        if first == 0 < end:
            row[0] = deleted[0]
        for part in columns.list_parts(first, end):
            if len(part) == 2:
                column, sources = part
                choice = int(row[sources].argmin())
                row[column], codes[column - first] = row[sources[choice]], choice
                continue
            start, stop = max(part[0], first), min(part[1], end)
            source, here = part[2] if start == part[0] else start - 1, slice(start - first, stop - first)
            diagonal = above[start - 1 : stop - 1] + changed[here]
            diagonal[0] = above[source] + changed[start - first]
            row[start:stop] = columns.scan(np.minimum(diagonal, deleted[here]), row[source], start, stop)
            inserted = row[start - 1 : stop - 1] + columns.gap[start:stop]
            inserted[0] = row[source] + columns.gap[start]
            chosen = codes[here]
            chosen[inserted == row[start:stop]] = _INSERT
            chosen[diagonal == row[start:stop]] = _DIAGONAL
        return row, codes

    def trace_path(self) -> Iterator[Step]:
        """Yield the steps of the cheapest pair of paths from the end."""
        rows, columns = self.reference.states, self.columns.network.states
        i, c = self.reference.last, self.columns.network.last
        while i >= 0 or c >= 0:
            code = int(self.trace[i + 1][c + 1 - self.first[i + 1]])
            if i >= 0 and rows[i].word is None:
                i = rows[i].before[code]
            elif c >= 0 and columns[c].word is None:
                c = columns[c].before[code]
            elif code == _INSERT:
                spoken, c = columns[c], columns[c].before[0]
                if not spoken.is_null:
                    yield HIT if spoken.is_optional else INSERTION, "", spoken.written
            elif code == _DELETE:
                word, i = rows[i], rows[i].before[0]
                if not word.is_null:
                    yield HIT if word.is_optional else DELETION, word.word or "", ""
            else:
                word, spoken = rows[i], columns[c]
                i, c = word.before[0], spoken.before[0]
                yield HIT if is_match(word, spoken) else SUBSTITUTION, word.word or "", spoken.written
