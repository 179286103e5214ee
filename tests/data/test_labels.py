"""Labels without invisible differences, near-equal labels, and the counts of an imbalanced data set."""

from __future__ import annotations

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.data.labels import (
    clean_label,
    clean_labels,
    describe_imbalance,
    describe_near_equal_labels,
    find_label_column,
    find_near_equal_labels,
)


@pytest.mark.parametrize(
    "label", ["yes", "yes ", " yes", "yes\u200b", "\ufeffyes", "yes\u00a0", "\tyes\n", "ye\u00ads", "yes\u200d"]
)
def test_what_cannot_be_seen_is_left_out(label: str) -> None:
    assert clean_label(label) == "yes"


def test_spaces_within_a_label_become_one() -> None:
    assert {*map(clean_label, ["turn on", "turn  on", "turn\u00a0on", "turn \u2003on"])} == {"turn on"}
    assert clean_label("cafe\u0301") == "caf\u00e9"
    assert clean_label("YES") == "YES"  # case is another label, which is told but not changed
    assert clean_label("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645") != clean_label(
        "\u0646\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"
    )  # a joiner within a Persian word is part of its spelling


@given(st.text(max_size=20))
def test_cleaning_twice_changes_nothing(label: str) -> None:
    assert clean_label(clean_label(label)) == clean_label(label)


def test_a_column_is_cleaned_with_one_warning() -> None:
    rows = Dataset.from_dict({"id": ["a", "b", "c"], "label": ["yes", "yes ", "no\u200b"]})
    cleaned, warnings = clean_labels(rows, "label")
    assert list(cleaned["label"]) == ["yes", "yes", "no"] and cleaned.column_names == rows.column_names
    assert warnings == [
        "2 labels have spaces or invisible characters that are left out: 'yes ' is read as 'yes', "
        "'no\\u200b' is read as 'no'"
    ]
    same, none = clean_labels(cleaned, "label")
    assert same is cleaned and none == []


def test_labels_that_are_almost_equal() -> None:
    labels = ["yes"] * 3 + ["YES", "turn on", "turn-on", "Turn_on.", "1", "1.0", "c", "no"]
    groups = find_near_equal_labels(labels)
    assert [[label for label, _ in group] for group in groups] == [
        ["1", "1.0"],
        ["Turn_on.", "turn on", "turn-on"],
        ["yes", "YES"],
    ]
    (warning,) = describe_near_equal_labels(labels)
    assert "'yes' (3) and 'YES' (1)" in warning and warning.startswith("labels that are almost equal")
    assert describe_near_equal_labels(["one", "two", "?", "!"]) == []


def test_labels_are_a_column_or_few_short_texts() -> None:
    digits = Dataset.from_dict({"text": ["one", "two"] * 5})
    assert find_label_column(digits) == "text"
    assert find_label_column(digits.add_column("label", ["a"] * 10)) == "label"
    assert find_label_column(digits.add_column("label", [""] * 10)) == "text"
    assert find_label_column(Dataset.from_dict({"text": [f"sentence {n}" for n in range(10)]})) is None
    assert find_label_column(Dataset.from_dict({"text": ["a long text " * 10, "two"] * 5})) is None
    assert find_label_column(Dataset.from_dict({"id": ["a"]})) is None


def test_an_imbalance_is_told() -> None:
    (warning,) = describe_imbalance({"zero": 180, "one": 6, "two": 6})
    assert warning.startswith("'zero' has 180 utterances and 'one' 6:") and "head.class_weights=balanced" in warning
    assert describe_imbalance({"zero": 50, "one": 6}) == [] == describe_imbalance({"zero": 50})
