"""Comparisons of systems: paired intervals, permutation and MAPSSWE tests, Holm's correction."""

import math

import numpy as np
import pytest

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, compare_scores, compare_systems, score
from speechxfer.scoring.comparison import Comparison, compute_mapsswe_p
from speechxfer.scoring.statistics import t_quantile


def systems(errors_a, errors_b, words=10):
    texts = [" ".join(f"w{i}" for i in range(words))] * len(errors_a)

    def make_texts(errors):
        return [" ".join("x" if i < n else f"w{i}" for i in range(words)) for n in errors]

    speakers = [f"s{i}" for i in range(len(texts))]
    return score(texts, make_texts(errors_a), speakers=speakers), score(texts, make_texts(errors_b), speakers=speakers)


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
    texts, hypotheses, speakers = ["a b"] * 6, ["a", "a b"] * 3, ["s", "s", "t", "t", "u", "u"]
    with_speakers, without = score(texts, texts, speakers=speakers), score(texts, hypotheses)
    assert compare_scores(without, with_speakers).units == compare_scores(with_speakers, without).units == 3
    assert compare_scores(without, without).over == "utterances"
    alone = score(texts, hypotheses, speakers=["s"] * 6)
    assert (compare_scores(alone, alone).over, compare_scores(alone, alone).units) == ("utterances", 6)


def test_very_few_speakers_are_compared_without_an_interval():
    found = compare_scores(*systems([4, 5, 6, 5], [2, 3, 3, 1]))
    assert found.interval is None and found.p == pytest.approx(2 / 2**4)


def test_one_utterance_has_no_interval_but_is_compared():
    found = compare_scores(score(["a b"], ["a"]), score(["a b"], ["a b"]))
    assert found.interval is None and found.difference == -0.5 and found.summary().startswith("-50.0 points over 1 ")


def test_order_of_utterances_does_not_matter():
    a = score(["a b", "c d"], ["a", "c d"], ids=["1", "2"], speakers=["s", "t"])
    b = score(["c d", "a b"], ["c", "a b"], ids=["2", "1"], speakers=["t", "s"])
    assert compare_scores(a, b).difference == 0


def test_different_utterances_are_not_compared():
    a, b = score(["a"], ["a"], ids=["1"]), score(["a"], ["a"], ids=["2"])
    with pytest.raises(UserError, match="in one system only"):
        compare_scores(a, b)
    with pytest.raises(UserError, match="different options"):
        compare_scores(a, score(["a"], ["a"], ids=["1"], options=ScoringOptions(align="sclite")))


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


def test_a_comparison_as_json():
    found = Comparison(0.4, 0.25, -0.15, (-0.2, -0.1), 0.01, "speakers", 30, p_holm=0.02, p_mapsswe=0.03)
    assert found.to_json() == {
        "difference": -0.15,
        "interval": [-0.2, -0.1],
        "p": 0.01,
        "p_holm": 0.02,
        "p_mapsswe": 0.03,
        "over": "speakers",
        "units": 30,
        "significant": True,
    }
