"""Compounds of the hypothesis follow the reference, and never add errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.alignment import ALIGN_METHODS
from speechxfer.scoring.compounds import join_compounds


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("an ice cream", "an icecream", "an ice cream"),
        ("icecream now", "ice cream now", "icecream now"),
        ("well-known", "well known", "well-known"),
        ("well known", "well-known", "well known"),
        ("a b c", "abc d", "a b c d"),
        ("abc", "a b c", "abc"),
        ("ice cream icecream", "icecream", "icecream"),  # spelt so in the reference too
        ("a b", "c d", "c d"),
        # where joining helps in one place only
        ("it is every day", "everyday it is every day", "everyday it is every day"),
        ("it is every day", "everyday it is everyday", "everyday it is every day"),
        ("x ice cream y", "icecream x ice-cream z", "icecream x ice cream z"),
        ("abc de", "a b c de", "abc de"),
        ("", "a b", "a b"),
    ],
)
def test_compounds_follow_the_reference(reference, hypothesis, expected):
    assert " ".join(join_compounds(reference.split(), hypothesis.split())) == expected


words = st.lists(st.sampled_from(["a", "b", "ab", "abb", "a-b", "ba", "b-", "-"]), max_size=8)


@given(words, words, st.sampled_from(ALIGN_METHODS))
def test_compounds_never_add_errors(reference, hypothesis, method):
    def count(compounds):
        options = ScoringOptions("none", align=method, compounds=compounds)
        return score([" ".join(reference)], [" ".join(hypothesis)], options=options).counts.errors

    assert count(True) <= count(False)
    joined = join_compounds(reference, hypothesis, method)
    assert "".join(joined).replace("-", "") == "".join(hypothesis).replace("-", "")
