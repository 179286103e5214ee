"""The table of labels: a confusion matrix where it fits, else the confusions of each label."""

from __future__ import annotations

import io

from rich.console import Console

from speechxfer.report.label_tables import make_label_table
from speechxfer.scoring.labels import LabelScore, score_labels


def show(score: LabelScore, width: int = 200) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=width)
    console.print(make_label_table(score, width=width))
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_matrix() -> None:
    lines = show(score_labels(["zero", "zero", "one", "two"], ["zero", "one", "zero", "zero"]))
    assert lines == [
        ["label", "recall", "%", "labels", "precision", "%", "one", "zero"],
        ["one", "0.0", "1", "0.0", "·", "1"],
        ["two", "0.0", "1", "-", "·", "1"],
        ["zero", "50.0", "2", "33.3", "1", "1"],
    ]


def test_a_list_where_the_matrix_is_too_wide() -> None:
    labels = [f"label {n}" for n in range(12)]
    score = score_labels(labels * 2, [*labels, "label 0", *labels[2:], "label 1"])
    lines = show(score, width=60)
    assert lines[0][-2:] == ["predicted", "instead"] and all(len(" ".join(line)) <= 60 for line in lines)
    assert lines[2] == ["label", "1", "50.0", "2", "50.0", "label", "2", "1"]


def test_of_very_many_labels_the_worst() -> None:
    labels = [f"{n:03}" for n in range(60)]
    lines = show(score_labels(labels, ["000", *labels[1:30], *["000"] * 30]))
    assert len(lines) == 1 + 40 + 1 and lines[-1] == ["20", "more", "labels"]
    assert {line[1] for line in lines[1:31]} == {"0.0"}
