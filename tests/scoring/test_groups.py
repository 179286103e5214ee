"""Columns of a breakdown: chosen, crossed and in bins; and those that are shown."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.scoring import score
from speechxfer.scoring.groups import are_numbers_or_bins, select_breakdown, select_shown_columns, sort_values


def test_columns_that_a_person_would_read():
    n = 60
    columns = {
        "client_id": [f"c{i % 30}" for i in range(n)],
        "name": [f"n{i % 59}" for i in range(n)],
        "snr": ["3", "4"] * 30,
        "pitch": [str(100 + i % 25) for i in range(n)],
        "accent": [f"a{i % 3}" for i in range(n)],
        "dialect": [f"d{i % 3}" for i in range(n)],
        "gender": [f"g{i % 2}" for i in range(n)],
    }
    speakers = [f"s{i % 30}" for i in range(n)]
    auto = score(["x"] * n, ["x"] * n, speakers=speakers, columns=columns, by="auto")
    assert auto.shown_columns == ("gender", "accent", "speaker")
    assert set(auto.by) == {"speaker", "snr", "accent", "dialect", "gender"}  # all with five rows a value, in the JSON
    asked = score(["x"] * n, ["x"] * n, columns=columns, by=["pitch", "gender", "client_id"])
    assert asked.shown_columns == ("gender", "pitch", "client_id")


def test_columns_that_were_asked_for_are_all_shown_in_order_of_their_size():
    columns = {"speaker": ["s", "s"], "b": ["1", "2"], "a": ["x", "x"], "c": ["y", "y"]}
    assert select_shown_columns(["speaker", "b", "a"], columns, auto=False) == ("a", "b", "speaker")


def test_the_speaker_replaces_a_column_of_the_same_people():
    people = [f"p{i % 30}" for i in range(90)]
    columns = {"client_id": people, "speaker": [f"s{name}" for name in people], "duration": ["1.5", ""] * 45}
    assert select_shown_columns(list(columns), columns, auto=True) == ("speaker",)


def test_identifiers_and_measurements_are_not_shown():
    n = 60
    columns = {
        "file": [f"f{i}" for i in range(n)],
        "pitch": [str(i % 25) for i in range(n)],
        "town": [f"t{i % 25}" for i in range(n)],
    }
    assert select_shown_columns(list(columns), columns, auto=True) == ("town",)


def test_auto_leaves_out_free_texts_and_columns_of_few_rows_a_value():
    n = 60
    columns = {
        "speaker": [f"s{i % 30}" for i in range(n)],
        "notes": [("short", "a remark of more than forty characters, at length")[i % 2] for i in range(n)],
        "town": [f"t{i % 13}" for i in range(n)],
        "accent": [f"a{i % 12}" for i in range(n)],
    }
    assert select_breakdown("auto", columns).names == ("speaker", "accent")


AGES = {"age": ["9", "10", "19", "20", "29", ""], "gender": ["f", "m", "f", "", "m", "f"], "a+b": list("xyzxyz")}


def test_crossed_and_binned_columns_by_hand():
    found = select_breakdown(["age:10", "gender+age", "gender + age:10", "a+b"], AGES)
    assert found.made["age:10"] == ("0-9", "10-19", "10-19", "20-29", "20-29", "")
    assert found.made["gender+age"] == ("f + 9", "m + 10", "f + 19", "(none) + 20", "m + 29", "f + (none)")
    assert found.made["gender + age:10"][:3] == ("f + 0-9", "m + 10-19", "f + 10-19")
    assert found.names == ("age:10", "gender+age", "gender + age:10", "a+b") and "a+b" not in found.made
    assert found.problems == ()


@pytest.mark.parametrize(
    ("values", "width", "bins"),
    [
        (["0.3", "0.29", "1"], "0.1", ("0.3 to 0.4", "0.2 to 0.3", "1 to 1.1")),  # 0.3 / 0.1 is below 3 in binary
        (["-7", "-10", "0"], "5", ("-10 to -5", "-10 to -5", "0 to 5")),
        (["20", "21.5"], "10", ("20 to 30", "20 to 30")),
        (["3", "4"], "1", ("3", "4")),
        (["1e3"], "100", ("1000-1099",)),
    ],
)
def test_bins_hold_their_values(values, width, bins):
    assert select_breakdown([f"x:{width}"], {"x": values}).made[f"x:{width}"] == bins


@given(st.lists(st.decimals(-1000, 1000, places=2), min_size=1), st.decimals("0.01", 50, places=2))
def test_every_number_is_in_its_bin(numbers, width):
    made = select_breakdown([f"x:{width}"], {"x": [*map(str, numbers), "0.5"]}).made[f"x:{width}"]
    for number, label in zip(numbers, made, strict=False):
        low, high = map(Decimal, label.split(" to "))
        assert low <= number < high and high - low == width and low % width == 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gendre", "no column 'gendre' to break the result down by (did you mean 'gender'?)"),
        ("gender+agee:10", "no column 'agee' to break the result down by (did you mean 'age'?)"),
        ("age:ten", "'age:ten' has no bin width: write a positive number, e.g. 'age:10'"),
        ("age:-5", "has no bin width"),
        ("age:0", "has no bin width"),
        ("gender:10", "column 'gender' cannot be divided into bins: 'f' is not a number, or too large"),
    ],
)
def test_names_that_cannot_be_used_are_problems(name, problem):
    found = select_breakdown([name, "age"], AGES)
    assert found.names == ("age",) and len(found.problems) == 1 and problem in found.problems[0]


def test_numbers_too_large_for_a_bin():
    assert "too large" in select_breakdown(["x:1"], {"x": ["1e40"]}).problems[0]
    assert "'nan' is not a number" in select_breakdown(["x:1"], {"x": ["nan"]}).problems[0]


def test_bins_are_sorted_by_size():
    found = score(["a"] * 6, ["a"] * 6, columns={"age": ["100", "9", "20", "", "11", "-3"]}, by=["age:10", "age"])
    assert list(found.by["age"]) == ["-3", "9", "11", "20", "100", ""]
    assert sort_values(["10-19", "5-9", "b", "100-109", "a"]) == ["5-9", "10-19", "100-109", "a", "b"]
    assert are_numbers_or_bins(["5-9", "0.5 to 1", "-3", ""]) and not are_numbers_or_bins(["5-9", "f + 5-9"])


def test_groups_of_crossed_columns_have_intervals():
    n = 60
    columns = {"gender": ["f", "m"] * 30, "age": [str(20 + i // 2) for i in range(n)]}
    speakers, hypotheses = [f"s{i}" for i in range(n)], ["a b", "a x", "a"] * 20
    found = score(["a b"] * n, hypotheses, speakers=speakers, columns=columns, by=["gender+age:10"])
    assert {value: group.counts.utterances for value, group in found.by["gender+age:10"].items()} == {
        f"{g} + {low}-{low + 9}": 10 for g in "fm" for low in (20, 30, 40)
    }
    assert all(group.interval.units == 10 for group in found.by["gender+age:10"].values())
