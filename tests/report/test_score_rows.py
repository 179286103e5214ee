"""Rows of a score table: groups in order, many values pooled, bins that all systems have."""

from speechxfer.report.score_rows import make_group_rows, make_rows, order_values
from speechxfer.scoring import Counts, score


def make_score(values, wrong, column="x"):
    """An utterance of one word for each value, wrong where `wrong(value)`."""
    hypotheses = ["b" if wrong(value) else "a" for value in values]
    return score(["a"] * len(values), hypotheses, columns={column: values}, by=[column])


def test_values_are_ordered_by_rate_and_numbers_by_size():
    words = make_score(["u", "v", "w"], lambda value: value == "v")
    assert [row.value for row in make_group_rows([words], "x")] == ["v", "u", "w"]
    numbers = make_score(["10", "9", "", "100"], lambda value: value == "100")
    assert [row.value for row in make_group_rows([numbers], "x")] == ["9", "10", "100", ""]
    speakers = make_score(["0002", "0001"], lambda value: value == "0002", column="speaker")
    assert order_values(speakers, "speaker", ["0001", "0002"]) == ["0002", "0001"]
    many = make_score([str(i) for i in range(30)], lambda value: value == "29")
    assert order_values(many, "x", many.by["x"])[0] == "29"


def test_many_values_share_a_row():
    found = make_score([f"v{i:02}" for i in range(30)], lambda value: value < "v10")
    rows = make_rows([found])
    assert [row.value for row in rows][:2] == ["", "v00"] and len(rows) == 1 + 8 + 1 + 4
    pooled = rows[9]
    assert pooled.pooled and pooled.value == "18 others" and pooled.groups[0].counts == Counts(16, 2, 0, 0, 2, 18, 18)
    assert sum((row.groups[0].counts for row in rows[1:]), start=Counts()) == found.counts


def test_groups_and_bins_of_all_systems_only():
    left = make_score(["u", "v"], lambda _: False)
    right = make_score(["v", "w"], lambda _: False)
    bins = [{"words": [("1 to 2 words", left.counts), ("more", left.counts)]}, {"words": [("more", right.counts)]}]
    rows = make_rows([left, right], bins)
    assert [(row.column, row.value) for row in rows] == [("all", ""), ("x", "v"), ("length", "more")]
    assert [row.column for row in make_rows([left, right], bins, by="y")] == ["all"]
