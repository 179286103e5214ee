"""Confidence intervals and significance tests for error rates and event counts.

A WER is a ratio of sums (errors over words), and utterances of one speaker are alike, so resampling single utterances
gives intervals that are too narrow for new speakers. Whole speakers are resampled instead (blockwise bootstrap; Bisani
& Ney, 2004; Liu et al., 2020). Draws are vectorised as multinomial counts: units with equal numbers are
interchangeable, so drawing n units with replacement is exactly one multinomial draw over the distinct rows.

Event counts have exact intervals: Poisson for false alarms in hours of audio (Garwood, 1936), binomial for misses
(Clopper & Pearson, 1934). Each bound is the mean (or share) at which the observed count, or a more extreme one, reaches
the tail probability; it is found by bisection on the sum of the distribution's terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

CONFIDENCE_LEVEL = 0.95
NUM_RESAMPLES = 10_000
MIN_BOOTSTRAP_UNITS = 20  # with fewer units a percentile bootstrap is too narrow
_CHUNK = 4_000_000  # numbers drawn at once, to bound memory

FloatArray = NDArray[np.float64]


def sum_by_unit(values: NDArray[np.int64], units: NDArray[np.int64]) -> FloatArray:
    """Sum the rows of (utterances, k) `values` by unit number: (units, k)."""
    sums = np.zeros((int(units.max()) + 1 if len(units) else 0, values.shape[1]))
    np.add.at(sums, units, values)
    return sums


def number_values(values: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct values in sorted order, and the index of each value among them."""
    names = sorted(set(values))
    index = {name: i for i, name in enumerate(names)}
    return names, np.fromiter(map(index.__getitem__, values), dtype=np.int64, count=len(values))


def resample_sums(rows: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """Draw as many units as `rows` (units, k) has, with replacement, `draws` times; return their (draws, k) sums."""
    distinct, times = np.unique(rows, axis=0, return_counts=True)
    share = times / times.sum()
    step = max(1, _CHUNK // len(distinct))
    chunks = [
        rng.multinomial(len(rows), share, size=min(step, draws - start)) @ distinct for start in range(0, draws, step)
    ]
    return np.concatenate(chunks)


def bootstrap_rate(rows: FloatArray, *, draws: int = NUM_RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of sum(errors) / sum(words); (NaN, NaN) if no draw has a word.

    Args:
        rows: (units, 2) errors and words.
    """
    sums = resample_sums(rows, draws, np.random.default_rng(seed))
    sums = sums[sums[:, 1] > 0]  # a draw without words has no rate
    if not len(sums):
        return math.nan, math.nan
    return _percentiles(sums[:, 0] / sums[:, 1])


def jackknife_t(rows: FloatArray) -> tuple[float, float]:
    """Student t interval over the delete-one-unit jackknife of sum(errors) / sum(words), for few units.

    See Efron & Tibshirani (1993), chapter 11. (NaN, NaN) if leaving one unit out leaves no words.

    Args:
        rows: (units, 2) errors and words.
    """
    low, high = _jackknife(rows, lambda sums: sums[..., 0] / sums[..., 1])
    return max(0.0, low) if low == low else low, high


def paired_difference(rows: FloatArray, *, draws: int = NUM_RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of rate(b) - rate(a).

    Args:
        rows: (units, 4) errors a, words a, errors b, words b.
    """
    sums = resample_sums(rows, draws, np.random.default_rng(seed))
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    if not len(sums):
        return math.nan, math.nan
    return _percentiles(_difference(sums))


def paired_jackknife_t(rows: FloatArray) -> tuple[float, float]:
    """Student t interval of rate(b) - rate(a), for few units: `jackknife_t` of the rows of `paired_difference`."""
    return _jackknife(rows, _difference)


def sign_flip(differences: FloatArray, *, draws: int = NUM_RESAMPLES, seed: int = 0) -> float:
    """Return the two-sided p value of a sign-flip permutation test on the sum of `differences`, of shape (units,).

    Exact (all 2^n sign assignments) for up to 13 non-zero differences, else `draws` random assignments and the observed
    one (Phipson & Smyth, 2010). 1.0 if all differences are zero.
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
    """Return Holm's (1979) adjusted p values, in the order given."""
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def t_quantile(probability: float, freedom: int) -> float:
    """Return the Student t quantile of a probability above 0.5, by bisection on the distribution function."""
    return _bisect(lambda t: _t_cdf(t, freedom) < probability, 1e4)


def poisson_interval(count: int, level: float = CONFIDENCE_LEVEL) -> tuple[float, float]:
    """Two-sided interval of the mean of a Poisson distribution, from one observed `count`."""
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else _bisect(lambda mean: 1 - _poisson_cdf(count - 1, mean) < tail, _max_mean(count))
    return low, poisson_upper(count, 1 - tail)


def poisson_upper(count: int, level: float = CONFIDENCE_LEVEL) -> float:
    """One-sided upper bound of the mean of a Poisson distribution: 3.00 for no event, 4.74 for one."""
    return _bisect(lambda mean: _poisson_cdf(count, mean) > 1 - level, _max_mean(count))


def binomial_interval(count: int, trials: int, level: float = CONFIDENCE_LEVEL) -> tuple[float, float]:
    """Two-sided interval of a share, from `count` of `trials`; 0 to 1 without trials."""
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else _bisect(lambda share: 1 - _binomial_cdf(count - 1, trials, share) < tail, 1.0)
    high = 1.0 if count >= trials else _bisect(lambda share: _binomial_cdf(count, trials, share) > tail, 1.0)
    return low, high


def compute_hours_needed(target: float, alarms: int = 0, level: float = CONFIDENCE_LEVEL) -> float:
    """Return the hours of audio with `alarms` false alarms that rule out a rate above `target` per hour."""
    return poisson_upper(alarms, level) / target


def _difference(sums: FloatArray) -> FloatArray:
    return np.asarray(sums[..., 2] / sums[..., 3] - sums[..., 0] / sums[..., 1])


def _jackknife(rows: FloatArray, statistic: Callable[[FloatArray], FloatArray]) -> tuple[float, float]:
    n = len(rows)
    rows = rows[np.lexsort(rows.T)]  # makes sums of floats independent of the order of the units
    total = rows.sum(axis=0)
    left = total - rows
    if n < 2 or (left[:, 1::2] <= 0).any():
        return math.nan, math.nan
    values = statistic(left)
    error = math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))
    middle, half = float(statistic(total)), t_quantile(0.5 + CONFIDENCE_LEVEL / 2, n - 1) * error
    return middle - half, middle + half


def _percentiles(rates: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(rates, [100 * (1 - CONFIDENCE_LEVEL) / 2, 100 * (1 + CONFIDENCE_LEVEL) / 2])
    return float(low), float(high)


def _bisect(is_below: Callable[[float], bool], high: float) -> float:
    """Return the argument in 0 to `high` at which `is_below` turns false."""
    low = 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


def _t_cdf(t: float, freedom: int) -> float:
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


def _poisson_cdf(count: int, mean: float) -> float:
    """P(X <= count) of a Poisson distribution."""
    if mean <= 0:
        return 1.0
    k = np.arange(count + 1)
    return _sum_exp(k * math.log(mean) - mean - _log_factorials(count))


def _binomial_cdf(count: int, trials: int, share: float) -> float:
    """P(X <= count) of a binomial distribution."""
    if share <= 0 or count >= trials:
        return 1.0
    if share >= 1:
        return 0.0
    k = np.arange(count + 1)
    logs = _log_factorials(trials)
    choose = logs[-1] - logs[: count + 1] - logs[trials - k]
    return _sum_exp(choose + k * math.log(share) + (trials - k) * math.log1p(-share))


def _log_factorials(count: int) -> FloatArray:
    """log 0! to log `count`!: (count + 1,)."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])


def _sum_exp(logs: FloatArray) -> float:
    return float(min(1.0, np.exp(logs).sum()))


def _max_mean(count: int) -> float:
    """Return a mean above every bound for `count`: ten standard deviations and the tail of small counts."""
    return count + 10 * math.sqrt(count + 1) + 20
