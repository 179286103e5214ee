"""The results table as Markdown, CSV and LaTeX: numbers by hand, and names that hold the formats' own characters."""

import csv
import io
import re

import pytest

from speechxfer.errors import UserError
from speechxfer.report.table_formats import check_table_form, format_results
from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.labels import score_labels

NAMES = ("a|b_*[c]<i>", r"100 % & {x}~^\$#")
HEAD = ["system", "column", "value", "WER %", "95 % low", "95 % high", "words", "sub", "del", "ins", "MER %", "WIL %"]


def systems(options=None):
    rooms = ["[indoor]", "two\nlines", "[indoor]", "two\nlines"]
    references = ["a b", "c d", "e f", "g h"]
    first = score(references, ["a x", "c", "e f", "g h i"], columns={"room": rooms}, by=["room"], options=options)
    second = score(references, references, columns={"room": rooms}, by=["room"], options=options)
    return {NAMES[0]: first, NAMES[1]: second}


def test_csv_by_hand():
    rows = list(csv.reader(io.StringIO(format_results(systems(), "csv"))))
    assert rows[0] == [*HEAD, "CER %"] and len(rows) == 1 + 2 * 3
    overall = next(iter(systems().values()))
    low, high = (f"{100 * bound:.1f}" for bound in (overall.interval.low, overall.interval.high))
    # 6 hits, 1 S, 1 D, 1 I of 8 reference and 8 hypothesis words: MER 3 / 9, WIL 1 - 36 / 64
    assert rows[1] == [NAMES[0], "all", "", "37.5", low, high, "8", "1", "1", "1", "33.3", "43.8", "41.7"]
    assert rows[2][:4] == [NAMES[1], "all", "", "0.0"]
    assert {(row[1], row[2]) for row in rows[3:]} == {("room", "[indoor]"), ("room", "two\nlines")}
    assert rows[-1][4:6] == ["", ""]  # two utterances give no interval


def test_markdown_has_as_many_cells_in_each_line():
    lines = format_results(systems(), "markdown").splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len(lines) == 2 + 6 and {len(line) for line in cells} == {13}
    assert cells[1][2:5] == [" :-- ", " --: ", " --: "]
    assert cells[2][0] == r" a\|b\_\*\[c\]\<i\> " and any(line[2] == " two lines " for line in cells)


def test_latex_escapes_its_characters():
    lines = format_results(systems(), "latex").splitlines()
    assert lines[0] == r"\begin{tabular}{lllrrrrrrrrrr}" and lines[-1] == r"\end{tabular}"
    assert lines[1:4:2] == [r"\toprule", r"\midrule"] and lines[-2] == r"\bottomrule"
    assert lines[2].startswith(r"system & column & value & WER \% &")
    assert r"100 \% \& \{x\}\textasciitilde{}\textasciicircum{}\textbackslash{}\$\#" in lines[5]
    assert r"{[}indoor]" in "\n".join(lines)
    assert all(line.count(" & ") == 12 and line.endswith(r" \\") for line in (lines[2], *lines[4:-2]))


def test_all_values_of_a_long_column_are_in_the_table():
    values = [f"v{i:02}" for i in range(40)]
    found = score(["a"] * 40, ["a"] * 40, columns={"x": values}, by=["x"])
    assert [line.split(",")[2] for line in format_results({"s": found}, "csv").splitlines()[2:]] == values


def test_other_units_and_forms():
    head = format_results(systems(ScoringOptions(unit="char")), "csv").splitlines()[0]
    assert "character error rate %" in head and ",characters," in head
    with pytest.raises(UserError, match="'markdwn' is not a form of table"):
        check_table_form("markdwn")


def test_labels_have_their_accuracy():
    found = score_labels(["one", "one", "two", "two"], ["one", "one", "two", "one"])
    rows = list(csv.reader(io.StringIO(format_results({"mine": found}, "csv"))))
    assert rows[0] == ["system", "column", "value", "accuracy %", "95 % low", "95 % high", "labels", "wrong"]
    assert rows[1][:4] == ["mine", "all", "", "75.0"] and rows[1][-2:] == ["4", "1"]
