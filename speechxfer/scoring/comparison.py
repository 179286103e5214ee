"""Do two systems really differ? Paired by utterance, with whole speakers as the units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from speechxfer.errors import UserError
from speechxfer.scoring.result import GROUP_UNITS, AlignedWord, Score
from speechxfer.scoring.statistics import (
    MIN_BOOTSTRAP_UNITS,
    holm,
    paired_difference,
    paired_jackknife_t,
    sign_flip,
    sum_by_unit,
)


@dataclass(frozen=True)
class Comparison:
    """after - before, as a difference of rates (negative: after is better), with its 95 % interval and p."""

    before: float | None
    after: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    over: str
    units: int
    p_holm: float | None = None  # where more than two systems are compared
    p_mapsswe: float | None = None

    @property
    def significant(self) -> bool:
        p = self.p if self.p_holm is None else self.p_holm
        return p is not None and p < 0.05

    def summary(self) -> str:
        if self.difference is None or self.p is None:
            return "no comparison: no reference words"
        points = 100 * self.difference
        between = "" if self.interval is None else ", 95 % {:+.1f} to {:+.1f}".format(*(100 * x for x in self.interval))
        p = _p("p", self.p)
        if self.p_holm is not None:
            p += f" ({_p('Holm', self.p_holm)})"
        if self.p_mapsswe is not None:
            p += f", {_p('MAPSSWE', self.p_mapsswe)}"
        verdict = ("better" if points < 0 else "worse") if self.significant else "no significant difference"
        return f"{points:+.1f} points{between} over {self.units:,} {self.over}, {p}: {verdict}"

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
    """Compare two systems on the same utterances: paired block bootstrap (below 20 speakers a t interval over the
    jackknife, below 5 none) and sign-flip permutation, whole speakers at a time.

    mapsswe: NIST's matched-pair sentence-segment test too, which takes segments as independent, whoever spoke them.
    Raises UserError where the two do not hold the same ids, or were scored otherwise.
    """
    if before.options.to_json() != after.options.to_json():
        raise UserError("two systems scored with different options cannot be compared")
    place = {name: i for i, name in enumerate(after.ids)}
    if lacking := [name for name in before.ids if name not in place] or [
        n for n in after.ids if n not in {*before.ids}
    ]:
        raise UserError(f"utterance '{lacking[0]}' is in one system only ({len(lacking)} such)")
    rows = np.array([place[name] for name in before.ids], dtype=np.int64)
    a, b = before.words, after.words[rows]
    pairs = np.column_stack([a[:, 1:].sum(axis=1), a[:, :3].sum(axis=1), b[:, 1:].sum(axis=1), b[:, :3].sum(axis=1)])
    codes, over = before.resampling_units
    if over == "utterances" and after.resampling_units[1] == "speakers":  # known to one file only
        codes, over = after.resampling_units[0][rows], "speakers"
    sums = sum_by_unit(pairs, codes)
    units = len(sums)
    if before.wer is None or after.wer is None:
        return Comparison(before.wer, after.wer, None, None, None, over, units)
    seed = before.options.seed
    # the sign flip tests the sum of each unit's share of the difference, both rates taken over all reference words
    shares = sums[:, 2] / sums[:, 3].sum() - sums[:, 0] / sums[:, 1].sum()
    if pairs[:, 1].sum() == pairs[:, 3].sum():  # whole numbers: equal sizes stay equal
        shares = sums[:, 2] - sums[:, 0]
    low, high = paired_jackknife_t(sums) if units < MIN_BOOTSTRAP_UNITS else paired_difference(sums, seed=seed)
    interval = None if math.isnan(low) or units < GROUP_UNITS else (low, high)
    p = sign_flip(shares, seed=seed)
    segments = None
    if mapsswe:
        segments = compute_mapsswe_p(before.get_alignments(), after.get_alignments(rows.tolist()))
    return Comparison(before.wer, after.wer, after.wer - before.wer, interval, p, over, units, p_mapsswe=segments)


def compare_systems(systems: Mapping[str, Score]) -> dict[tuple[str, str], Comparison]:
    """Every pair of systems; with more than two, significance is by Holm's adjusted p."""
    pairs = list(combinations(systems, 2))
    found = [compare_scores(systems[a], systems[b], mapsswe=True) for a, b in pairs]
    if len(pairs) > 1:
        known = [i for i, c in enumerate(found) if c.p is not None]
        for i, p in zip(known, holm([found[i].p or 0.0 for i in known]), strict=True):
            found[i] = replace(found[i], p_holm=p)
    return dict(zip(pairs, found, strict=True))


def compute_mapsswe_p(before: list[list[AlignedWord]], after: list[list[AlignedWord]]) -> float:
    """MAPSSWE's two-sided p (Gillick & Cox, 1989): errors in segments set apart by two words right in both."""
    values = np.array(compute_segment_differences(before, after), dtype=np.float64)
    if len(values) < 2 or not values.any():
        return 1.0
    spread = float(values.std(ddof=1))
    if not spread:
        return 0.0
    return math.erfc(abs(float(values.mean())) / (spread / math.sqrt(len(values))) / math.sqrt(2))


def compute_segment_differences(before: list[list[AlignedWord]], after: list[list[AlignedWord]]) -> list[int]:
    """Errors of the second system less those of the first, in every segment where either has one."""
    differences: list[int] = []
    for first, second in zip(before, after, strict=True):
        a, b = _by_position(first), _by_position(second)
        wrong_a = wrong_b = right = 0
        for place, (x, y) in enumerate(zip(a, b, strict=True)):
            if x == y == 0:
                right += place % 2  # the words; between them lie the insertions
                if right == 2 and (wrong_a or wrong_b):
                    differences.append(wrong_b - wrong_a)
                    wrong_a = wrong_b = 0
            else:
                right, wrong_a, wrong_b = 0, wrong_a + x, wrong_b + y
        if wrong_a or wrong_b:
            differences.append(wrong_b - wrong_a)
    return differences


def _by_position(words: list[AlignedWord]) -> list[int]:
    """Errors at every place: before the first reference word, on it, between it and the second, and so on."""
    places = [0]
    for operation, _, _ in words:
        if operation == "I":
            places[-1] += 1
        else:
            places += [int(operation != "="), 0]
    return places


def _p(name: str, p: float) -> str:
    return f"{name} = {p:.4f}" if p >= 0.0001 else f"{name} < 0.0001"
