"""Counts, rates and summaries by hand."""

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.scoring import Counts, GroupScore, Interval, score

COUNTS = Counts(hits=6, substitutions=2, deletions=2, insertions=1, character_errors=9, reference_characters=45)


def test_rates():
    assert (COUNTS.errors, COUNTS.reference_words) == (5, 10)
    assert COUNTS.wer == pytest.approx(0.5) and COUNTS.cer == pytest.approx(0.2)
    assert Counts(insertions=3).wer is None and Counts(insertions=3).cer is None


TEXTS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(" ".join)


@given(st.lists(st.tuples(TEXTS, st.one_of(TEXTS, st.just(""))), min_size=1, max_size=5))
def test_match_error_rate_and_word_information_lost_are_jiwers(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    found, wanted = score(references, hypotheses).counts, jiwer.process_words(references, hypotheses)
    assert (found.mer, found.wil) == (pytest.approx(wanted.mer), pytest.approx(wanted.wil))


def test_rates_without_words():
    assert Counts(insertions=3).mer is None and Counts(insertions=3).wil is None
    assert Counts(deletions=3).mer == 1 and Counts(deletions=3).wil == 1
    assert Counts(hits=3).mer == 0 and Counts(hits=3).wil == 0


def test_addition_and_sums_of_arrays():
    words, characters = np.array([[1, 2, 0, 1], [3, 0, 1, 0]]), np.array([[4, 9], [1, 12]])
    first, second = (Counts.from_arrays(words[i : i + 1], characters[i : i + 1]) for i in range(2))
    assert first + second == Counts.from_arrays(words, characters) == Counts(4, 2, 1, 1, 5, 21, 2)


def test_summary():
    interval = Interval(0.375, 0.625, "speakers", 1200, "bootstrap")
    assert GroupScore(COUNTS, interval).summary() == (
        "50.0 % [5 / 10: 2 sub, 2 del, 1 ins], 95 % 37.5 to 62.5 over 1,200 speakers"
    )
    assert GroupScore(Counts(insertions=2, utterances=1), None).summary() == (
        "no WER: no reference words in 1 utterances [0 sub, 0 del, 2 ins]"
    )


def test_json():
    interval = Interval(0.375, 0.625, "speakers", 12, "t")
    found = GroupScore(COUNTS, interval).to_json()
    assert (found["wer"], found["cer"], found["hits"], found["interval"]) == (0.5, 0.2, 6, [0.375, 0.625])
    assert (found["interval_over"], found["interval_units"], found["interval_method"]) == ("speakers", 12, "t")
    assert GroupScore(COUNTS, None).to_json()["interval"] is None
