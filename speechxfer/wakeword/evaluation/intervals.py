"""Exact intervals for counts: Poisson for alarms in hours (Garwood 1936), binomial for misses (Clopper & Pearson 1934).

Each bound is the mean or share at which what was counted, or something more extreme, becomes just too unlikely: found
by bisection on the sum of the distribution's own terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

COUNT_CONFIDENCE_LEVEL = 0.95


def poisson_interval(count: int, level: float = COUNT_CONFIDENCE_LEVEL) -> tuple[float, float]:
    """Two-sided interval of the mean of which `count` events were one draw."""
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else _where(lambda mean: 1 - _poisson(count - 1, mean) < tail, _above(count))
    return low, poisson_upper(count, 1 - tail)


def poisson_upper(count: int, level: float = COUNT_CONFIDENCE_LEVEL) -> float:
    """One-sided upper bound of the mean: 3.00 for no event, 4.74 for one."""
    return _where(lambda mean: _poisson(count, mean) > 1 - level, _above(count))


def binomial_interval(count: int, trials: int, level: float = COUNT_CONFIDENCE_LEVEL) -> tuple[float, float]:
    """Two-sided interval of the share of which `count` of `trials` was one draw; 0 to 1 for no trials."""
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else _where(lambda share: 1 - _binomial(count - 1, trials, share) < tail, 1.0)
    high = 1.0 if count >= trials else _where(lambda share: _binomial(count, trials, share) > tail, 1.0)
    return low, high


def compute_hours_needed(target: float, alarms: int = 0, level: float = COUNT_CONFIDENCE_LEVEL) -> float:
    """Hours of stream with `alarms` alarms after which a rate above `target` an hour is refuted."""
    return poisson_upper(alarms, level) / target


def _above(count: int) -> float:
    """A mean above every bound for `count`: ten standard deviations and the tail of small counts."""
    return count + 10 * math.sqrt(count + 1) + 20


def _where(still_below: Callable[[float], bool], high: float) -> float:
    """The argument in 0 to `high` at which `still_below` turns false."""
    low = 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if still_below(middle) else (low, middle)
    return (low + high) / 2


def _poisson(count: int, mean: float) -> float:
    """P(X <= count)."""
    if mean <= 0:
        return 1.0
    k = np.arange(count + 1)
    return _sum_of(k * math.log(mean) - mean - _log_factorials(count))


def _binomial(count: int, trials: int, share: float) -> float:
    """P(X <= count) of `trials`."""
    if share <= 0 or count >= trials:
        return 1.0
    if share >= 1:
        return 0.0
    k = np.arange(count + 1)
    logs = _log_factorials(trials)
    choose = logs[-1] - logs[: count + 1] - logs[trials - k]
    return _sum_of(choose + k * math.log(share) + (trials - k) * math.log1p(-share))


def _log_factorials(count: int) -> np.ndarray:
    """log 0! to log `count`!: (count + 1,)."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])


def _sum_of(logs: np.ndarray) -> float:
    return float(min(1.0, np.exp(logs).sum()))
