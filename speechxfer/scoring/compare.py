"""Do two systems really differ? Paired by utterance, with whole speakers as the units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from speechxfer.errors import UserError
from speechxfer.scoring.result import Score
from speechxfer.scoring.statistics import paired_difference, sign_flip, unit_sums


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

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p < 0.05

    def summary(self) -> str:
        if self.difference is None or self.interval is None or self.p is None:
            return "no comparison: no reference words"
        points, low, high = 100 * self.difference, 100 * self.interval[0], 100 * self.interval[1]
        p = f"p = {self.p:.4f}" if self.p >= 0.0001 else "p < 0.0001"
        verdict = ("better" if points < 0 else "worse") if self.significant else "no significant difference"
        return f"{points:+.1f} points, 95 % {low:+.1f} to {high:+.1f} over {self.units:,} {self.over}, {p}: {verdict}"

    def to_json(self) -> dict[str, Any]:
        return {
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "p": self.p,
            "over": self.over,
            "units": self.units,
            "significant": self.significant,
        }


def compare(before: Score, after: Score) -> Comparison:
    """Compare two systems on the same utterances: paired block bootstrap, sign-flip permutation over speakers.

    Raises UserError where the two do not hold the same ids.
    """
    place = {name: i for i, name in enumerate(after.ids)}
    if lacking := [name for name in before.ids if name not in place] or [
        n for n in after.ids if n not in {*before.ids}
    ]:
        raise UserError(f"utterance '{lacking[0]}' is in one system only ({len(lacking)} such)")
    rows = np.array([place[name] for name in before.ids], dtype=np.int64)
    a, b = before.words, after.words[rows]
    pairs = np.column_stack([a[:, 1:].sum(axis=1), a[:, :3].sum(axis=1), b[:, 1:].sum(axis=1), b[:, :3].sum(axis=1)])
    over, units = ("utterances", len(a)) if before.speakers is None else ("speakers", len(set(before.speakers)))
    if before.wer is None or after.wer is None:
        return Comparison(before.wer, after.wer, None, None, None, over, units)
    sums = unit_sums(pairs, before.speaker_codes)
    seed = before.options.seed
    # the sign flip tests the sum of each unit's share of the difference, both rates taken over all reference words
    shares = sums[:, 2] / sums[:, 3].sum() - sums[:, 0] / sums[:, 1].sum()
    if pairs[:, 1].sum() == pairs[:, 3].sum():  # whole numbers: equal sizes stay equal
        shares = sums[:, 2] - sums[:, 0]
    low, high = paired_difference(sums, seed=seed)
    return Comparison(
        before.wer, after.wer, after.wer - before.wer, (low, high), sign_flip(shares, seed=seed), over, units
    )
