"""Columns of a breakdown that are shown."""

from speechxfer.scoring import score
from speechxfer.scoring.groups import select_shown_columns


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
    assert set(auto.by) == {"speaker", *columns}  # all are in the JSON
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
