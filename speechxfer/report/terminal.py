"""Score tables and marked transcripts for the terminal, with rich. All text is shown as it is, without markup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from speechxfer.report.console import EscapingConsole, make_text, measure_width
from speechxfer.report.error_lines import describe_score
from speechxfer.report.formatting import format_percent, shorten_middle, shorten_names
from speechxfer.report.label_tables import make_label_table
from speechxfer.report.score_rows import BinCounts, Row, make_rows
from speechxfer.scoring import Comparison, GroupScore, Score
from speechxfer.scoring.analysis import AnalysedScore
from speechxfer.scoring.labels import LabelScore, compute_accuracy
from speechxfer.scoring.tokens import UNIT_NAMES
from speechxfer.scoring.units import convert_error_rate

_MAX_INTERVAL_SYSTEMS = 3  # systems side by side above which a table has no room for their intervals
_NAME_LENGTHS = (24, 16, 10)  # characters of a system's name in a table, the first that fits
_MAX_NAME_LENGTH = _NAME_LENGTHS[0]
_STYLES = {"S": "bold red", "D": "bold magenta", "I": "bold yellow"}


def make_score_table(score: Score, bins: BinCounts | None = None, *, width: int | None = None) -> Table:
    """Make a table with a row for all utterances, one per group, and one per bin.

    Args:
        bins: `ErrorAnalysis.bins` of the score.
        width: columns of the terminal; labels are wrapped to fit (default: no limit).
    """
    noun = UNIT_NAMES[score.options.unit]
    if isinstance(score, LabelScore):
        return _set_width(_make_accuracy_table(score, bins or {}), width)
    rate = "WER %" if noun == "word" else "rate %"
    table = _make_table([""], [rate, "95 %", f"{noun}s", "sub", "del", "ins", "CER %"])
    for row in make_rows([score], [bins or {}]):
        (group,) = row.groups
        c = group.counts
        tallies = (c.reference_words, c.substitutions, c.deletions, c.insertions)
        cells = [
            _format_rate(group.wer),
            _format_interval(group),
            *(f"{n:,}" for n in tallies),
            _format_rate(group.cer),
        ]
        _add_row(table, row, cells)
    return _set_width(table, width)


def _make_accuracy_table(score: LabelScore, bins: BinCounts) -> Table:
    """Make a table of accuracy with a row for all utterances and one per group."""
    table = _make_table([""], ["accuracy %", "95 %", "labels", "wrong"])
    for row in make_rows([score], [bins]):
        (group,) = row.groups
        counts = (f"{n:,}" for n in (group.counts.reference_words, group.counts.errors))
        _add_row(table, row, [_format_group(group, is_label=True), _format_interval(group, is_label=True), *counts])
    return table


def make_before_after_table(before: Score, after: Score, *, by: str | None = None, width: int | None = None) -> Table:
    """Make a table of WER [errors] before and after, for all utterances and for groups.

    Args:
        by: the column whose groups are shown (default: all columns worth showing).
        width: columns of the terminal (default: no limit).
    """
    return make_systems_table({"before": before, "after": after}, by=by, width=width)


def make_systems_table(
    systems: Mapping[str, Score],
    bins: Sequence[BinCounts] = (),
    *,
    by: str | None = None,
    width: int | None = None,
) -> Table:
    """Make a table of systems: WER [errors] and interval of each, and the change between two.

    The systems are side by side if that fits, or else below each other.

    Args:
        width: columns of the terminal (default: no limit).
    """
    rows = make_rows(list(systems.values()), bins or [{}] * len(systems), by)
    table = _set_width(_make_wide_table(systems, rows), None)
    if width is None or measure_width(table) <= width:
        return table
    for length in _NAME_LENGTHS:
        table = _make_long_table(systems, rows, length)
        if measure_width(table) <= width:
            break
    return _set_width(table, width)


def _make_wide_table(systems: Mapping[str, Score], rows: Sequence[Row]) -> Table:
    """Make a table with columns for each system."""
    num_cells = 2 if len(systems) <= _MAX_INTERVAL_SYSTEMS else 1
    is_label, names = _are_labels(systems), shorten_names(systems, _MAX_NAME_LENGTH)
    heads = [head for name in names for head in (f"{name}\n{_name_rate(is_label)}", "95 %")[:num_cells]]
    change = ["change"] if len(systems) == 2 else []
    table = _make_table([""], [_name_units(systems), *heads, *change])
    for row in rows:
        cells = [f"{row.groups[0].counts.reference_words:,}"]
        for group in row.groups:
            cells += [_format_errors(group, is_label), _format_interval(group, is_label)][:num_cells]
        if change:
            cells.append(_format_change(*row.groups, is_label=is_label))
        _add_row(table, row, cells)
    return table


def _make_long_table(systems: Mapping[str, Score], rows: Sequence[Row], name_length: int) -> Table:
    """Make a table with a row for each system, whose name is shortened to `name_length`."""
    change = ["change"] if len(systems) == 2 else []
    is_label = _are_labels(systems)
    table = _make_table(["", "system"], [_name_units(systems), _name_rate(is_label), "95 %", *change])
    for row in rows:
        for k, (name, group) in enumerate(zip(shorten_names(systems, name_length), row.groups, strict=True)):
            words = f"{group.counts.reference_words:,}" if k == 0 else ""
            cells = [words, _format_errors(group, is_label), _format_interval(group, is_label)]
            if change:
                cells.append(_format_change(*row.groups, is_label=is_label) if k == 1 else "")
            names = (_format_label(row) if k == 0 else "", name)
            table.add_row(*map(make_text, (*names, *cells)), style="dim" if row.pooled else None)
    return table


def make_curve_table(points: Sequence[Mapping[str, Any]], metric: str = "WER") -> Table:
    """Make the table of a learning curve: share, size and dev error rate of each training subset."""
    table = _make_table([""], ["hours", "utterances", f"dev {metric} %"])
    for point in points:
        dev = _format_rate(convert_error_rate(point["dev"], metric))
        cells = (f"{point['hours']:.2f}", f"{point['utterances']:,}", dev)
        table.add_row(f"{100 * point['share']:.0f} % of train", *cells)
    return _set_width(table, None)


def mark_examples(before: Score, after: Score, count: int, names: tuple[str, str] = ("before", "after")) -> Group:
    """Show up to `count` utterances whose number of errors changed, about half of them for the worse if there are any.

    Each has its reference and both hypotheses, labelled by `names`, with their errors marked; the largest changes come
    first.
    """
    rows = {name: i for i, name in enumerate(after.ids)}
    changed = []
    for i, name in enumerate(before.ids):
        if name in rows:
            j = rows[name]
            change = int(after.words[j, 1:].sum() - before.words[i, 1:].sum())
            changed.append((change, i, j))
    changed.sort(key=lambda one: (-abs(one[0]), one[1]))
    better, worse = [c for c in changed if c[0] < 0], [c for c in changed if c[0] > 0]
    num_worse = min(len(worse), max(count // 2, count - len(better)))
    width = max(map(len, ("reference", *names))) + 2
    label, first, second = (f"{name:{width}}" for name in ("reference", *names))
    lines = []
    for change, i, j in [*better[: count - num_worse], *worse[:num_worse]]:
        errors = "1 error" if abs(change) == 1 else f"{abs(change)} errors"
        head = make_text(f"{before.ids[i]} ({errors} {'fewer' if change < 0 else 'more'})", style="dim")
        lines += [head, make_text(label + " ".join(before.get_tokens(i)[0]))]
        lines += [make_text(first) + mark_errors(before, i), make_text(second) + mark_errors(after, j), Text("")]
    return Group(*lines)


def mark_errors(score: Score, index: int) -> Text:
    """Return a hypothesis with its errors marked by colour and sign: [wrong], (+inserted), (-deleted)."""
    words = []
    for operation, reference, hypothesis in score.get_alignment(index):
        shown = {"S": f"[{hypothesis}]", "D": f"(-{reference})", "I": f"(+{hypothesis})"}.get(operation, hypothesis)
        if shown:  # an optional word left out is not shown
            words.append(make_text(shown, style=_STYLES.get(operation, "")))
    return Text(" ").join(words)


def print_scores(
    systems: Mapping[str, AnalysedScore],
    comparisons: Mapping[tuple[str, str], Comparison],
    warnings: Sequence[str],
) -> None:
    """Print rates with counts, the error analysis, tables of groups and bins, comparisons and warnings.

    Args:
        systems: scores by name of the system.
        comparisons: comparisons by names of both systems.
    """
    console = EscapingConsole()
    scores = {name: analysed.score for name, analysed in systems.items()}
    for name, analysed in systems.items():
        title = f"{name}: " if len(systems) > 1 else _name_metric(analysed.score)
        console.print(make_text(title, style="bold") + make_text(analysed.score.summary()))
        for line in wrap_lines(describe_score(analysed), console):
            console.print(line)
        if isinstance(analysed.score, LabelScore):
            console.print(make_label_table(analysed.score, width=console.width))
    first, *others = scores.values()
    bins = [analysed.errors.bins for analysed in systems.values()]
    if first.by or bins[0]:
        console.print()
        width = console.width
        table = (
            make_systems_table(scores, bins, width=width) if others else make_score_table(first, bins[0], width=width)
        )
        console.print(table)
    if comparisons:
        console.print()
    for (before, after), comparison in comparisons.items():
        console.print(make_text(f"{before} to {after}: {comparison.summary()}"))
    if warnings:
        console.print()
    for text in warnings:
        console.print(make_text(f"warning: {text}", style="yellow"))


def wrap_lines(lines: Sequence[str], console: Console, indent: int = 4) -> Iterator[Text]:
    """Yield lines of detail, indented and wrapped to the width of the terminal."""
    for line in lines:
        for k, part in enumerate(make_text(line, style="dim").wrap(console, max(console.width - indent - 2, 20))):
            part.rstrip()
            yield make_text(" " * (indent if k == 0 else indent + 2)) + part


def _name_metric(score: Score) -> str:
    noun = UNIT_NAMES[score.options.unit]
    if score.wer is None:
        return ""
    if isinstance(score, LabelScore):
        return "accuracy "
    return "WER " if noun == "word" else f"{noun} error rate "


def _name_units(systems: Mapping[str, Score]) -> str:
    return f"{UNIT_NAMES[next(iter(systems.values())).options.unit]}s"


def _make_table(names: Sequence[str], numbers: Sequence[str]) -> Table:
    """Make a table whose columns of names may be wrapped, and whose columns of numbers may not."""
    table = Table(box=None)
    for head in names:
        table.add_column(make_text(head), overflow="fold")
    for head in numbers:
        table.add_column(make_text(head), justify="right", no_wrap=True)
    return table


def _add_row(table: Table, row: Row, cells: Sequence[str]) -> None:
    table.add_row(*map(make_text, (_format_label(row), *cells)), style="dim" if row.pooled else None)


def _set_width(table: Table, width: int | None) -> Table:
    """Give a table the width of its contents, or `width` if that is less; rich would take the terminal's."""
    natural = measure_width(table)
    table.width = natural if width is None else min(natural, width)
    return table


def _format_label(row: Row) -> str:
    if row.column == "all":
        return "all"
    return f"{row.column}: {_shorten(row.value) or '(none)'}"


def _shorten(name: str) -> str:
    return shorten_middle(name, _MAX_NAME_LENGTH)


def _format_rate(rate: float | None) -> str:
    """Format a rate for a column whose head has the percent sign."""
    return format_percent(rate).removesuffix(" %")


def _are_labels(systems: Mapping[str, Score]) -> bool:
    return all(isinstance(score, LabelScore) for score in systems.values())


def _name_rate(is_label: bool) -> str:
    return "accuracy % [wrong]" if is_label else "% [errors]"


def _format_group(group: GroupScore, is_label: bool) -> str:
    """Format the error rate of a group, or the accuracy of labels."""
    return _format_rate(compute_accuracy(group) if is_label else group.wer)


def _format_errors(group: GroupScore, is_label: bool) -> str:
    return _format_group(group, is_label) + ("" if group.wer is None else f" [{group.counts.errors:,}]")


def _format_change(before: GroupScore, after: GroupScore, *, is_label: bool) -> str:
    if before.wer is None or after.wer is None:
        return ""
    return f"{100 * (before.wer - after.wer if is_label else after.wer - before.wer):+.1f}"


def _format_interval(group: GroupScore, is_label: bool = False) -> str:
    if group.interval is None:
        return ""
    low, high = group.interval.low, group.interval.high
    low, high = (1 - high, 1 - low) if is_label else (low, high)
    return f"{_format_rate(low)}-{_format_rate(high)}"
