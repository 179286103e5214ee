"""Intervals and tests against textbook values, closed forms and plain loops."""

import itertools
import math

import numpy as np
import pytest

from speechxfer.scoring.statistics import (
    binomial_interval,
    bootstrap_rate,
    compute_hours_needed,
    holm,
    jackknife_t,
    paired_difference,
    paired_jackknife_t,
    poisson_interval,
    poisson_upper,
    resample_sums,
    sign_flip,
    t_quantile,
)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062), (2, 4.30265), (5, 2.57058), (10, 2.22814), (19, 2.09302), (30, 2.04227)]
)
def test_t_quantiles_of_the_table(freedom, expected):
    assert t_quantile(0.975, freedom) == pytest.approx(expected, rel=1e-5)


def test_t_quantile_just_above_one_half():
    assert t_quantile(0.6, 10) == pytest.approx(0.2602, abs=5e-5)


def test_bootstrap_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    words = rng.integers(1, 20, size=60)
    rows = np.column_stack([rng.binomial(words, 0.3), words]).astype(float)
    low, high = bootstrap_rate(rows, draws=20_000)
    plain = []
    for _ in range(20_000):
        drawn = rows[rng.integers(0, 60, 60)].sum(axis=0)
        plain.append(drawn[0] / drawn[1])
    assert (low, high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.004)


def test_resampling_draws_as_many_units_as_there_are():
    rows = np.column_stack([np.arange(5.0), np.ones(5)])
    assert (resample_sums(rows, 100, np.random.default_rng(0))[:, 1] == 5).all()


def test_jackknife_of_equal_words_is_the_t_interval_of_a_mean():
    rates = np.array([0.1, 0.2, 0.4, 0.35, 0.15])
    low, high = jackknife_t(np.column_stack([100 * rates, np.full(5, 100.0)]))
    half = t_quantile(0.975, 4) * rates.std(ddof=1) / math.sqrt(5)
    assert (low, high) == pytest.approx((rates.mean() - half, rates.mean() + half))


def test_paired_jackknife_of_equal_words_is_the_t_interval_of_the_mean_difference():
    a, b = np.array([10.0, 20, 40, 35, 15]), np.array([8.0, 22, 30, 20, 16])
    rows = np.column_stack([a, np.full(5, 100.0), b, np.full(5, 100.0)])
    difference = (b - a) / 100
    half = t_quantile(0.975, 4) * difference.std(ddof=1) / math.sqrt(5)
    assert paired_jackknife_t(rows) == pytest.approx((difference.mean() - half, difference.mean() + half))


def test_jackknife_of_units_without_words_says_nothing():
    assert all(map(math.isnan, jackknife_t(np.array([[1.0, 10], [2, 0]]))))
    assert all(map(math.isnan, paired_jackknife_t(np.array([[1.0, 10, 1, 10]]))))


def test_sign_flip_is_exact_for_few_units():
    values = np.array([3.0, -1.0, 2.0, 5.0, 0.0])
    sums = [
        abs(sum(s * v for s, v in zip(signs, values[:4], strict=True)))
        for signs in itertools.product([1, -1], repeat=4)
    ]
    assert sign_flip(values) == pytest.approx(np.mean([s >= 9 for s in sums]))


def test_sign_flip_of_many_units_is_near_the_normal_tail():
    values = np.array([1.0] * 60 + [-1.0] * 40)
    assert sign_flip(values) == pytest.approx(math.erfc(19 / 10 / math.sqrt(2)), abs=0.015)
    assert sign_flip(np.zeros(5)) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_difference_of_nothing_is_nothing():
    rows = np.array([[3.0, 10, 3, 10], [1, 8, 1, 8]])
    assert paired_difference(rows) == (0.0, 0.0)


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
def test_poisson_interval(count, low, high):
    assert poisson_interval(count) == (pytest.approx(low, abs=6e-3), pytest.approx(high, abs=6e-3))


def test_poisson_upper_bound():
    assert poisson_upper(0) == pytest.approx(-math.log(0.05), abs=1e-9)
    assert poisson_upper(1) == pytest.approx(4.744, abs=1e-3)
    assert compute_hours_needed(0.1) == pytest.approx(29.957, abs=1e-3)


def test_poisson_interval_of_many_events_nears_the_normal():
    low, high = poisson_interval(100_000)
    assert (high - low) / (2 * 1.96 * math.sqrt(100_000)) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(  # Clopper & Pearson (1934), as R's binom.test gives them
    ("count", "trials", "low", "high"),
    [(0, 10, 0.0, 0.30850), (1, 10, 0.00253, 0.44502), (5, 10, 0.18709, 0.81291), (10, 10, 0.69150, 1.0),
     (7, 282, 0.01004, 0.05049)],
)  # fmt: skip
def test_binomial_interval(count, trials, low, high):
    assert binomial_interval(count, trials) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_binomial_interval_without_trials_is_0_to_1():
    assert binomial_interval(0, 0) == (0.0, 1.0)
