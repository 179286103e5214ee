"""Units of a text, and compounds."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.tokens import check_unit, join_compounds, tokenize


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("word", ["我爱python", "ok"]),
        ("char", list("我爱pythonok")),
        ("mixed", ["我", "爱", "python", "ok"]),
    ],
)
def test_units(unit, expected):
    assert tokenize("我爱python ok", unit) == expected


def test_a_mark_stays_with_its_character():
    assert tokenize("か\u3099き x", "mixed") == ["か\u3099", "き", "x"]


def test_unknown_unit():
    with pytest.raises(UserError, match="did you mean 'mixed'"):
        check_unit("mixd")


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
        ("", "a b", "a b"),
    ],
)
def test_compounds_follow_the_reference(reference, hypothesis, expected):
    assert " ".join(join_compounds(reference.split(), hypothesis.split())) == expected
