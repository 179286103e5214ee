"""Intervals and tests against textbook values, closed forms and plain loops."""

import itertools
import math

import numpy as np
import pytest

from speechxfer.errors import UserError
from speechxfer.scoring import compare_scores, compare_systems, score
from speechxfer.scoring.comparison import compute_mapsswe_p
from speechxfer.scoring.statistics import (
    bootstrap_rate,
    holm,
    jackknife_t,
    paired_difference,
    paired_jackknife_t,
    resample_sums,
    sign_flip,
    t_quantile,
)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062), (2, 4.30265), (5, 2.57058), (10, 2.22814), (19, 2.09302), (30, 2.04227)]
)
def test_t_quantiles_of_the_table(freedom, expected):
    assert t_quantile(0.975, freedom) == pytest.approx(expected, rel=1e-5)


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


def systems(errors_a, errors_b, words=10):
    texts = [" ".join(f"w{i}" for i in range(words))] * len(errors_a)

    def said(errors):
        return [" ".join("x" if i < n else f"w{i}" for i in range(words)) for n in errors]

    speakers = [f"s{i}" for i in range(len(texts))]
    return score(texts, said(errors_a), speakers=speakers), score(texts, said(errors_b), speakers=speakers)


def test_comparison_of_two_systems():
    before, after = systems([4] * 30, [2, 3] * 15)
    found = compare_scores(before, after)
    assert found.difference == pytest.approx(-0.15)
    assert found.interval[0] <= -0.15 <= found.interval[1] < 0
    assert found.significant and found.p < 0.001 and found.over == "speakers" and found.units == 30
    assert found.summary().endswith("better")
    assert compare_scores(after, before).difference == pytest.approx(0.15)


def test_no_difference_is_not_significant():
    before, after = systems([4, 2] * 15, [2, 4] * 15)
    assert not compare_scores(before, after).significant


def test_few_speakers_are_compared_by_a_t_interval():
    before, after = systems([4, 5, 6, 5, 4, 6], [2, 3, 3, 1, 3, 4])
    found = compare_scores(before, after)
    half = t_quantile(0.975, 5) * np.array([0.2, 0.2, 0.3, 0.4, 0.1, 0.2]).std(ddof=1) / math.sqrt(6)
    assert found.interval == pytest.approx((found.difference - half, found.difference + half))
    assert found.p == pytest.approx(2 / 2**6)


def test_speakers_known_to_one_side_are_the_units():
    texts, said, speakers = ["a b"] * 6, ["a", "a b"] * 3, ["s", "s", "t", "t", "u", "u"]
    with_speakers, without = score(texts, texts, speakers=speakers), score(texts, said)
    assert compare_scores(without, with_speakers).units == compare_scores(with_speakers, without).units == 3
    assert compare_scores(without, without).over == "utterances"
    alone = score(texts, said, speakers=["s"] * 6)
    assert (compare_scores(alone, alone).over, compare_scores(alone, alone).units) == ("utterances", 6)


def test_very_few_speakers_are_compared_without_an_interval():
    found = compare_scores(*systems([4, 5, 6, 5], [2, 3, 3, 1]))
    assert found.interval is None and found.p == pytest.approx(2 / 2**4)


def test_one_utterance_has_no_interval_but_is_compared():
    found = compare_scores(score(["a b"], ["a"]), score(["a b"], ["a b"]))
    assert found.interval is None and found.difference == -0.5 and found.summary().startswith("-50.0 points over 1 ")


def test_order_of_utterances_does_not_matter():
    a = score(["a b", "c d"], ["a", "c d"], ["1", "2"], ["s", "t"])
    b = score(["c d", "a b"], ["c", "a b"], ["2", "1"], ["t", "s"])
    assert compare_scores(a, b).difference == 0


def test_different_utterances_are_not_compared():
    a, b = score(["a"], ["a"], ["1"]), score(["a"], ["a"], ["2"])
    with pytest.raises(UserError, match="in one system only"):
        compare_scores(a, b)
    with pytest.raises(UserError, match="different options"):
        compare_scores(a, score(["a"], ["a"], ["1"], align="sclite"))


def test_more_than_two_systems_are_corrected():
    a, b = systems([4] * 30, [2, 3] * 15)
    _, c = systems([4] * 30, [4, 3] * 15)
    found = compare_systems({"a": a, "b": b, "c": c})
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert all(f.p_holm >= f.p for f in found.values())
    assert compare_systems({"a": a, "b": b})["a", "b"].p_holm is None


def test_matched_pairs_segments_by_hand():
    """Two words right in both set segments apart; one does not."""
    text = "a b c d e f g h"
    first = score([text], ["x b c d x f x h"])
    second = score([text], ["a b c d e f g h"])
    # segments: [a] set apart by b c; then [e f g] as f alone is right: differences -1 and -2
    z = abs(np.mean([-1, -2])) / (np.std([-1, -2], ddof=1) / math.sqrt(2))
    assert compute_mapsswe_p(first.get_alignments(), second.get_alignments()) == pytest.approx(
        math.erfc(z / math.sqrt(2))
    )
