"""Significance tests between systems, paired by utterance, with whole speakers as the units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechxfer.errors import UserError
from speechxfer.scoring.result import MIN_GROUP_UNITS, AlignedWord, Score
from speechxfer.scoring.statistics import (
    MIN_BOOTSTRAP_UNITS,
    holm,
    paired_difference,
    paired_jackknife_t,
    sign_flip,
    sum_by_unit,
)
from speechxfer.scoring.tokens import LABEL_UNIT

AlignmentSteps = str | Sequence[AlignedWord]


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems' rates, after - before (negative: after is better).

    Attributes:
        interval: 95 % confidence interval of the difference.
        p: two-sided p value of the permutation test.
        over: the resampling unit, speakers or utterances.
        units: number of units.
        p_holm: Holm's adjusted p value, if more than two systems are compared.
        p_mapsswe: p value of NIST's MAPSSWE test, if computed.
        of_labels: the rates are of labels; `summary` shows the difference of the accuracies, which is the opposite.
    """

    before: float | None
    after: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    over: str
    units: int
    p_holm: float | None = None
    p_mapsswe: float | None = None
    of_labels: bool = False

    @property
    def significant(self) -> bool:
        """Whether p (adjusted if several systems are compared) is below 0.05."""
        p = self.p if self.p_holm is None else self.p_holm
        return p is not None and p < 0.05

    def summary(self) -> str:
        """Return the difference in percentage points, its interval, p values and verdict, in one line."""
        if self.difference is None or self.p is None:
            return "no comparison: no reference words"
        points, bounds = 100 * self.difference, self.interval
        if self.of_labels:
            points, bounds = 0 - points, None if bounds is None else (-bounds[1], -bounds[0])
        interval = "" if bounds is None else ", 95 % {:+.1f} to {:+.1f}".format(*(100 * x for x in bounds))
        p = _format_p("permutation test p", self.p)
        if self.p_holm is not None:
            p += f" ({_format_p('Holm p', self.p_holm)})"
        if self.p_mapsswe is not None:
            p += f", {_format_p('MAPSSWE p', self.p_mapsswe)}"
        verdict = ("better" if self.difference < 0 else "worse") if self.significant else "no significant difference"
        return f"{points:+.1f} points{interval} over {self.units:,} {self.over}, {p}: {verdict}"

    def to_json(self) -> dict[str, Any]:
        return {
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "p": self.p,
            "p_holm": self.p_holm,
            "p_mapsswe": self.p_mapsswe,
            "over": self.over,
            "units": self.units,
            "significant": self.significant,
        }


def compare_scores(before: Score, after: Score, *, mapsswe: bool = False) -> Comparison:
    """Compare two systems on the same utterances, resampling whole speakers.

    The interval is a paired block bootstrap, or Student's t over the jackknife below 20 units; there is none below 5.
    The p value is that of a sign-flip permutation test.

    Args:
        mapsswe: also run NIST's matched-pair sentence-segment test, which treats segments as independent.

    Raises:
        UserError: if the ids or the scoring options differ.
    """
    if before.options.to_json() != after.options.to_json():
        raise UserError("two systems scored with different options cannot be compared")
    rows = _match_rows(before, after)
    a, b = before.words, after.words[rows]
    pairs = np.column_stack([a[:, 1:].sum(axis=1), a[:, :3].sum(axis=1), b[:, 1:].sum(axis=1), b[:, :3].sum(axis=1)])
    codes, over = before.resampling_units
    if over == "utterances" and after.resampling_units[1] == "speakers":  # speakers are known to one file only
        codes, over = after.resampling_units[0][rows], "speakers"
    sums = sum_by_unit(pairs, codes)
    units = len(sums)
    if before.wer is None or after.wer is None:
        return Comparison(before.wer, after.wer, None, None, None, over, units)
    seed = before.options.seed
    # the sign flip tests the sum of each unit's share of the difference, both rates taken over all reference words
    shares = sums[:, 2] / sums[:, 3].sum() - sums[:, 0] / sums[:, 1].sum()
    if pairs[:, 1].sum() == pairs[:, 3].sum():  # integers: equal differences stay exactly equal
        shares = sums[:, 2] - sums[:, 0]
    low, high = paired_jackknife_t(sums) if units < MIN_BOOTSTRAP_UNITS else paired_difference(sums, seed=seed)
    interval = None if math.isnan(low) or units < MIN_GROUP_UNITS else (low, high)
    p_mapsswe = None
    if mapsswe:
        p_mapsswe = compute_mapsswe_p(before.operations, [after.operations[row] for row in rows.tolist()])
    difference, p = after.wer - before.wer, sign_flip(shares, seed=seed)
    of_labels = before.options.unit == LABEL_UNIT
    return Comparison(
        before.wer, after.wer, difference, interval, p, over, units, p_mapsswe=p_mapsswe, of_labels=of_labels
    )


def _match_rows(before: Score, after: Score) -> NDArray[np.int64]:
    """Return the row of `after` for each utterance of `before`. Raises UserError for ids of one system only."""
    row = {name: i for i, name in enumerate(after.ids)}
    lacking = [name for name in before.ids if name not in row]
    if not lacking:
        known = set(before.ids)
        lacking = [name for name in after.ids if name not in known]
    if lacking:
        raise UserError(f"utterance '{lacking[0]}' is in one system only ({len(lacking)} in total)")
    return np.array([row[name] for name in before.ids], dtype=np.int64)


def compare_systems(systems: Mapping[str, Score]) -> dict[tuple[str, str], Comparison]:
    """Compare every pair of systems; with more than two, p values are adjusted by Holm's method."""
    pairs = list(combinations(systems, 2))
    found = [compare_scores(systems[a], systems[b], mapsswe=True) for a, b in pairs]
    if len(pairs) > 1:
        known = [i for i, c in enumerate(found) if c.p is not None]
        for i, p in zip(known, holm([found[i].p or 0.0 for i in known]), strict=True):
            found[i] = replace(found[i], p_holm=p)
    return dict(zip(pairs, found, strict=True))


def compute_mapsswe_p(before: Sequence[AlignmentSteps], after: Sequence[AlignmentSteps]) -> float:
    """Return the two-sided p value of MAPSSWE (Gillick & Cox, 1989).

    It compares the errors in segments that are separated by two words correct in both systems.

    Args:
        before, after: the alignment of each utterance, as in `Score.operations` or from `Score.get_alignments`.
    """
    values = np.array(compute_segment_differences(before, after), dtype=np.float64)
    if len(values) < 2 or not values.any():
        return 1.0
    spread = float(values.std(ddof=1))
    if not spread:
        return 0.0
    return math.erfc(abs(float(values.mean())) / (spread / math.sqrt(len(values))) / math.sqrt(2))


def compute_segment_differences(before: Sequence[AlignmentSteps], after: Sequence[AlignmentSteps]) -> list[int]:
    """Return the errors of the second system minus those of the first, for each segment with errors."""
    differences: list[int] = []
    for first, second in zip(before, after, strict=True):
        a, b = _count_by_position(first), _count_by_position(second)
        wrong_a = wrong_b = right = 0
        for position, (x, y) in enumerate(zip(a, b, strict=True)):
            if x == y == 0:
                right += position % 2  # odd positions are words, even ones insertions between them
                if right == 2 and (wrong_a or wrong_b):
                    differences.append(wrong_b - wrong_a)
                    wrong_a = wrong_b = 0
            else:
                right, wrong_a, wrong_b = 0, wrong_a + x, wrong_b + y
        if wrong_a or wrong_b:
            differences.append(wrong_b - wrong_a)
    return differences


def _count_by_position(alignment: AlignmentSteps) -> list[int]:
    """Return the errors at each position: before the first reference word, on it, before the second, and so on."""
    counts = [0]
    for step in alignment:  # a letter, or an aligned word, whose first item is the letter
        if step[0] == "I":
            counts[-1] += 1
        else:
            counts += [int(step[0] != "="), 0]
    return counts


def _format_p(name: str, p: float) -> str:
    return f"{name} = {p:.4f}" if p >= 0.0001 else f"{name} < 0.0001"
