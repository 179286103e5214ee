"""Intervals and tests for ratios of sums (a WER is errors over words), with whole speakers as the units.

Utterances of one speaker are alike, so resampling utterances claims too much for new speakers (Bisani & Ney, 2004;
Liu et al., 2020, blockwise bootstrap). Everything is vectorised over multinomial counts: units with equal numbers are
interchangeable, so a draw of n units with replacement is one multinomial over the distinct rows, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

CONFIDENCE_LEVEL = 0.95
NUM_RESAMPLES = 10_000
MIN_BOOTSTRAP_UNITS = 20  # units below which a percentile bootstrap is too narrow
_CHUNK = 4_000_000  # numbers drawn at once, to bound memory

Array = NDArray[np.float64]


def sum_by_unit(values: NDArray[np.int64], units: NDArray[np.int64]) -> Array:
    """Sum the rows of (utterances, k) `values` by unit number: (units, k)."""
    sums = np.zeros((int(units.max()) + 1 if len(units) else 0, values.shape[1]))
    np.add.at(sums, units, values)
    return sums


def number_values(values: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct values in order, and of every value its place among them."""
    names = sorted(set(values))
    place = {name: i for i, name in enumerate(names)}
    return names, np.fromiter(map(place.__getitem__, values), dtype=np.int64, count=len(values))


def resample_sums(rows: Array, draws: int, rng: np.random.Generator) -> Array:
    """(draws, k) sums over as many units as `rows` (units, k) has, drawn with replacement."""
    distinct, times = np.unique(rows, axis=0, return_counts=True)
    share = times / times.sum()
    step = max(1, _CHUNK // len(distinct))
    parts = [
        rng.multinomial(len(rows), share, size=min(step, draws - start)) @ distinct for start in range(0, draws, step)
    ]
    return np.concatenate(parts)


def bootstrap_rate(rows: Array, *, draws: int = NUM_RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of sum(errors) / sum(words). rows: (units, 2) errors and words."""
    sums = resample_sums(rows, draws, np.random.default_rng(seed))
    sums = sums[sums[:, 1] > 0]  # a draw of wordless units alone has no rate
    if not len(sums):
        return math.nan, math.nan
    return _percentiles(sums[:, 0] / sums[:, 1])


def jackknife_t(rows: Array) -> tuple[float, float]:
    """Student t interval over the delete-one-unit jackknife of sum(errors) / sum(words), as `bootstrap_rate` takes
    them (Efron & Tibshirani, 1993, chapter 11); NaN where leaving one unit out leaves no words."""
    low, high = _jackknife(rows, lambda sums: sums[..., 0] / sums[..., 1])
    return max(0.0, low) if low == low else low, high


def paired_difference(rows: Array, *, draws: int = NUM_RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of rate(b) - rate(a). rows: (units, 4) errors a, words a, errors b, words b."""
    sums = resample_sums(rows, draws, np.random.default_rng(seed))
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    if not len(sums):
        return math.nan, math.nan
    return _percentiles(_difference(sums))


def paired_jackknife_t(rows: Array) -> tuple[float, float]:
    """The same difference of few units, as `jackknife_t`."""
    return _jackknife(rows, _difference)


def _difference(sums: Array) -> Array:
    return np.asarray(sums[..., 2] / sums[..., 3] - sums[..., 0] / sums[..., 1])


def _jackknife(rows: Array, statistic: Callable[[Array], Array]) -> tuple[float, float]:
    n = len(rows)
    rows = rows[np.lexsort(rows.T)]  # sums of floats do not then depend on the order of the units
    total = rows.sum(axis=0)
    left = total - rows
    if n < 2 or (left[:, 1::2] <= 0).any():
        return math.nan, math.nan
    values = statistic(left)
    error = math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))
    middle, half = float(statistic(total)), t_quantile(0.5 + CONFIDENCE_LEVEL / 2, n - 1) * error
    return middle - half, middle + half


def sign_flip(differences: Array, *, draws: int = NUM_RESAMPLES, seed: int = 0) -> float:
    """Two-sided p that the sum of (units,) differences is no larger than chance: each unit's sign is a coin's.

    All 2^n assignments up to 13 units, else `draws` random ones and the observed one (Phipson & Smyth, 2010).
    """
    values = differences[differences != 0]
    if not len(values):
        return 1.0
    observed = abs(float(values.sum())) - 1e-9
    if len(values) <= 13:
        signs = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
        return float((np.abs(signs @ values) >= observed).mean())
    rng = np.random.default_rng(seed)
    size, times = np.unique(np.abs(values), return_counts=True)
    # of `times` units of one size, the number kept positive is binomial: exact, and as cheap as the distinct sizes
    kept = np.column_stack([rng.binomial(int(t), 0.5, size=draws) for t in times])
    sums = np.abs((2 * kept - times) @ size)
    return float((1 + (sums >= observed).sum()) / (draws + 1))


def holm(p_values: list[float]) -> list[float]:
    """Holm's (1979) adjusted p values, in the order given."""
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def t_quantile(probability: float, freedom: int) -> float:
    """The Student t quantile (probability > 0.5), by bisection on the distribution function."""
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_distribution(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _t_distribution(t: float, freedom: int) -> float:
    """P(T <= t), t >= 0, by the finite series of Abramowitz & Stegun 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    if freedom == 1:
        return 0.5 + angle / math.pi
    total, term = 0.0, cosine if freedom % 2 else 1.0
    for k in range((freedom - 1) // 2 if freedom % 2 else freedom // 2):
        total += term
        odd = freedom % 2
        term *= cosine**2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    central = 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
    return 0.5 + central / 2


def _percentiles(rates: Array) -> tuple[float, float]:
    low, high = np.percentile(rates, [100 * (1 - CONFIDENCE_LEVEL) / 2, 100 * (1 + CONFIDENCE_LEVEL) / 2])
    return float(low), float(high)
