"""The results table as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from speechxfer.errors import UserError, suggest_nearest
from speechxfer.report.score_rows import Row, make_group_rows
from speechxfer.scoring import GroupScore, Score
from speechxfer.scoring.labels import LabelScore, compute_accuracy
from speechxfer.scoring.tokens import UNIT_NAMES

Cells = Sequence[str]

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "[": "{[}",  # at the start of a line it would be an argument of the line break before
}


def format_results(systems: Mapping[str, Score], form: str) -> str:
    """Format a row for all utterances and one per group, for each system.

    Args:
        systems: scores by name of the system.
        form: "markdown", "csv" or "latex". Rates are in per cent.

    Raises:
        UserError: for another form.
    """
    check_table_form(form)
    scores = list(systems.values())
    rows = [Row("all", "", [score.overall for score in scores])]
    for column in scores[0].shown_columns:
        if all(column in score.by for score in scores):
            rows += make_group_rows(scores, column)
    noun = UNIT_NAMES[scores[0].options.unit]
    if isinstance(scores[0], LabelScore):
        numbers: tuple[str, ...] = ("accuracy %", "95 % low", "95 % high", "labels", "wrong")
        return _format_rows(systems, rows, form, numbers, _format_accuracy)
    rate = "WER %" if noun == "word" else f"{noun} error rate %"
    numbers = (rate, "95 % low", "95 % high", f"{noun}s", "sub", "del", "ins", "MER %", "WIL %", "CER %")
    return _format_rows(systems, rows, form, numbers, _format_numbers)


def _format_rows(
    systems: Iterable[str],
    rows: Sequence[Row],
    form: str,
    numbers: Sequence[str],
    format_group: Callable[[GroupScore], list[str]],
) -> str:
    names = ("system", "column", "value")
    cells = [
        [name, row.column, row.value, *format_group(group)]
        for row in rows
        for name, group in zip(systems, row.groups, strict=True)
    ]
    return _FORMS[form]([*names, *numbers], cells, len(names))


def check_table_form(form: str) -> None:
    """Raise UserError for an unknown form of table."""
    if form not in _FORMS:
        problem = f"'{form}' is not a form of table{suggest_nearest(form, _FORMS)}"
        raise UserError(problem, where="--table", fix=f"use one of {', '.join(_FORMS)}")


def _format_numbers(group: GroupScore) -> list[str]:
    c, interval = group.counts, group.interval
    bounds = (None, None) if interval is None else (interval.low, interval.high)
    counts = (c.reference_words, c.substitutions, c.deletions, c.insertions)
    return [*map(_format_rate, (c.wer, *bounds)), *map(str, counts), *map(_format_rate, (c.mer, c.wil, c.cer))]


def _format_accuracy(group: GroupScore) -> list[str]:
    c, interval = group.counts, group.interval
    bounds = (None, None) if interval is None else (1 - interval.high, 1 - interval.low)
    return [*map(_format_rate, (compute_accuracy(group), *bounds)), str(c.reference_words), str(c.errors)]


def _format_rate(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.1f}"


def _format_csv(head: Cells, rows: Sequence[Cells], _: int) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()


def _format_markdown(head: Cells, rows: Sequence[Cells], num_names: int) -> str:
    """Format a table of GitHub Flavored Markdown, names aligned left and numbers right."""
    rule = [":--" if k < num_names else "--:" for k in range(len(head))]
    lines = [head, rule, *([*map(_escape_markdown, row[:num_names]), *row[num_names:]] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _format_latex(head: Cells, rows: Sequence[Cells], num_names: int) -> str:
    """Format a tabular environment with the rules of the package booktabs."""
    columns = "l" * num_names + "r" * (len(head) - num_names)
    lines = [" & ".join(map(_escape_latex, cells)) + r" \\" for cells in (head, *rows)]
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}", ""])


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|&~])", r"\\\1", " ".join(text.split()))


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


_FORMS: dict[str, Callable[[Cells, Sequence[Cells], int], str]] = {
    "markdown": _format_markdown,
    "csv": _format_csv,
    "latex": _format_latex,
}
