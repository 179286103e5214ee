"""Table of a classifier's results by label, with the confusion matrix where it fits, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from speechxfer.report.console import make_text, measure_width
from speechxfer.report.formatting import format_percent, shorten_middle, shorten_names
from speechxfer.scoring.labels import LabelScore

_MAX_MATRIX_LABELS = 20  # labels above which the confusions are listed instead
_NAME_LENGTHS = (12, 6, 4)  # characters of a label at the head of the matrix, the first that fits
_MAX_NAME_LENGTH = 24
_MAX_ROWS = 40  # labels shown, those with the lowest recall
_NUM_CONFUSIONS = 3  # predictions listed for a label without a matrix


def make_label_table(score: LabelScore, *, width: int | None = None) -> Table:
    """Make a table with a row per label: recall, utterances, precision, and what the label was predicted as.

    The predictions are the confusion matrix (a row for each reference, a column for each prediction) if it fits, else
    the most frequent wrong labels.

    Args:
        width: columns of the terminal (default: no limit).
    """
    if len(score.labels) <= _MAX_MATRIX_LABELS:
        for length in _NAME_LENGTHS:
            table = _make_matrix(score, length)
            if width is None or measure_width(table) <= width:
                return table
    return _make_list(score)


def _make_matrix(score: LabelScore, length: int) -> Table:
    table = _make_table()
    predicted = [label for label, counts in score.labels.items() if counts.predicted]
    for name in shorten_names([_name(label) for label in predicted], length):
        table.add_column(make_text(name), justify="right", no_wrap=True)
    for label in score.labels:
        row = score.confusion.get(label, {})
        _add_row(table, score, label, [f"{row[other]:,}" if other in row else "·" for other in predicted])
    return table


def _make_list(score: LabelScore) -> Table:
    """Make the table without the matrix: the labels with the lowest recall, if there are very many."""
    table = _make_table()
    table.add_column(make_text("predicted instead"), overflow="fold")
    labels = list(score.labels)
    if len(labels) > _MAX_ROWS:
        recalls = {label: counts.recall for label, counts in score.labels.items()}
        known = [label for label in labels if recalls[label] is not None]
        labels = sorted(known, key=lambda label: recalls[label] or 0.0)[:_MAX_ROWS]
    for label in labels:
        _add_row(table, score, label, [_list_confusions(label, score.confusion.get(label, {}))])
    if (hidden := len(score.labels) - len(labels)) > 0:
        table.add_row(make_text(f"{hidden} more labels"))
    return table


def _make_table() -> Table:
    table = Table(box=None)
    table.add_column(make_text("label"), overflow="fold")
    for head in ("recall %", "labels", "precision %"):
        table.add_column(make_text(head), justify="right", no_wrap=True)
    return table


def _add_row(table: Table, score: LabelScore, label: str, cells: list[str]) -> None:
    counts = score.labels[label]
    rates = [format_percent(rate).removesuffix(" %") for rate in (counts.recall, counts.precision)]
    name = shorten_middle(_name(label), _MAX_NAME_LENGTH)
    table.add_row(*map(make_text, (name, rates[0], f"{counts.utterances:,}", rates[1], *cells)))


def _list_confusions(label: str, row: Mapping[str, int]) -> str:
    wrong = sorted(((n, other) for other, n in row.items() if other != label), key=lambda one: (-one[0], one[1]))
    more = f", {len(wrong) - _NUM_CONFUSIONS} more" if len(wrong) > _NUM_CONFUSIONS else ""
    return ", ".join(f"{_name(other)} {n:,}" for n, other in wrong[:_NUM_CONFUSIONS]) + more


def _name(label: str) -> str:
    return label or "(none)"
