"""Exact intervals against published tables."""

from __future__ import annotations

import math

import pytest

from speechxfer.wakeword.evaluation.intervals import (
    binomial_interval,
    compute_hours_needed,
    poisson_interval,
    poisson_upper,
)


@pytest.mark.parametrize(  # Garwood (1936), as tabulated at 95 %
    ("count", "low", "high"),
    [
        (0, 0.0, 3.689),
        (1, 0.0253, 5.572),
        (2, 0.242, 7.225),
        (5, 1.623, 11.668),
        (10, 4.795, 18.390),
        (50, 37.11, 65.92),
    ],
)
def test_poisson(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == (pytest.approx(low, abs=6e-3), pytest.approx(high, abs=6e-3))


def test_poisson_upper_bound_of_no_event_is_the_logarithm_of_the_level() -> None:
    assert poisson_upper(0) == pytest.approx(-math.log(0.05), abs=1e-9)
    assert poisson_upper(1) == pytest.approx(4.744, abs=1e-3)
    assert compute_hours_needed(0.1) == pytest.approx(29.957, abs=1e-3)


def test_poisson_of_many_nears_the_normal() -> None:
    low, high = poisson_interval(100_000)
    assert (high - low) / (2 * 1.96 * math.sqrt(100_000)) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(  # Clopper & Pearson (1934), as R's binom.test gives them
    ("count", "trials", "low", "high"),
    [(0, 10, 0.0, 0.30850), (1, 10, 0.00253, 0.44502), (5, 10, 0.18709, 0.81291), (10, 10, 0.69150, 1.0),
     (7, 282, 0.01004, 0.05049)],
)  # fmt: skip
def test_binomial(count: int, trials: int, low: float, high: float) -> None:
    assert binomial_interval(count, trials) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_nothing_tried_nothing_known() -> None:
    assert binomial_interval(0, 0) == (0.0, 1.0)
