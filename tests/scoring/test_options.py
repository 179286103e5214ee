"""Options of a score: defaults, validation, equality."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions
from speechxfer.text.normalise import get_normaliser


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "wrd"}, "did you mean 'word'"),
        ({"align": "sclit"}, "did you mean 'sclite'"),
        ({"normaliser": "defualt"}, "did you mean 'default'"),
        ({"normaliser": "nowhere.glm"}, "no such file"),
        ({"seed": -1}, "seed -1"),
        ({"notation": True, "compounds": True}, "compounds cannot be joined in texts with alternatives"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        ScoringOptions(**options)


def test_a_name_and_its_normaliser_are_equal_options():
    assert ScoringOptions() == ScoringOptions(get_normaliser("default")) != ScoringOptions("none")
    assert ScoringOptions("none") == ScoringOptions("none") and ScoringOptions(seed=1) != ScoringOptions()


def test_json_names_the_normaliser():
    assert ScoringOptions().to_json() == {
        "normaliser": "default",
        "normaliser_version": "3",
        "align": "min",
        "unit": "auto",
        "notation": False,
        "compounds": False,
        "seed": 0,
        "equivalents": None,
        "equivalents_version": None,
    }
    assert ScoringOptions(str.lower).to_json()["normaliser"] == "lower"
    assert ScoringOptions(str.lower).to_json()["normaliser_version"] is None


def test_both_sides_are_normalised_and_compounds_joined():
    assert ScoringOptions().tokenize_pairs(["An Ice cream"], ["an icecream!"]) == (
        [["an", "ice", "cream"]],
        [["an", "icecream"]],
    )
    joined = ScoringOptions(compounds=True).tokenize_pairs(["An Ice cream"], ["an icecream!"])
    assert joined == ([["an", "ice", "cream"]], [["an", "ice", "cream"]])
