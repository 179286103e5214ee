"""Score tables and marked transcripts for the terminal, with rich."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from speechxfer.scoring import Comparison, Counts, GroupScore, Score
from speechxfer.scoring.error_analysis import ErrorAnalysis
from speechxfer.scoring.tokens import UNIT_NAMES

MAX_GROUP_ROWS = 24  # values of a column above which a table shows only some of them
NUM_WORST, NUM_BEST = 8, 4  # values shown of such a column
_MAX_INTERVAL_SYSTEMS = 3  # systems above which a table has no room for their intervals
_MAX_NAME_LENGTH = 24  # characters of a name in a table
_NUM_LISTED = 5  # words or utterances listed per line
_BIN_NAMES = {"words": "length"}
_STYLES = {"S": "bold red", "D": "bold magenta", "I": "bold yellow"}

BinCounts = Mapping[str, Sequence[tuple[str, Counts]]]


@dataclass(frozen=True)
class _Row:
    """A row of a table: its label, and the result of each system."""

    label: str
    groups: list[GroupScore]
    style: str | None = None


def make_score_table(score: Score, bins: BinCounts | None = None) -> Table:
    """Make a table with a row for all utterances, one per group (highest rate first), and one per bin.

    Args:
        bins: `ErrorAnalysis.bins` of the score.
    """
    noun = UNIT_NAMES[score.options.unit]
    rate = "WER %" if noun == "word" else "rate %"
    table = _make_table(rate, "95 %", f"{noun}s", "sub", "del", "ins", "CER %")
    for row in _make_rows([score], None, [bins or {}]):
        (group,) = row.groups
        c = group.counts
        tallies = (c.reference_words, c.substitutions, c.deletions, c.insertions)
        cells = [
            _format_rate(group.wer),
            _format_interval(group),
            *(f"{n:,}" for n in tallies),
            _format_rate(group.cer),
        ]
        table.add_row(row.label, *cells, style=row.style)
    return _set_full_width(table)


def make_before_after_table(before: Score, after: Score, *, by: str | None = None) -> Table:
    """Make a table of WER [errors] before and after, for all utterances and for groups.

    Args:
        by: the column whose groups are shown (default: all columns worth showing), highest rate after first.
    """
    return make_systems_table({"before": before, "after": after}, by=by)


def make_systems_table(systems: Mapping[str, Score], bins: Sequence[BinCounts] = (), *, by: str | None = None) -> Table:
    """Make a table of systems side by side: WER [errors] and interval of each, and the change between two."""
    num_cells = 2 if len(systems) <= _MAX_INTERVAL_SYSTEMS else 1
    heads = [head for name in systems for head in (f"{_shorten(name)}\n% [errors]", "95 %")[:num_cells]]
    noun = UNIT_NAMES[next(iter(systems.values())).options.unit]
    table = _make_table(f"{noun}s", *heads, *(["change"] if len(systems) == 2 else []))
    for row in _make_rows(list(systems.values()), by, bins or [{}] * len(systems)):
        cells = [f"{row.groups[0].counts.reference_words:,}"]
        for group in row.groups:
            errors = "" if group.wer is None else f" [{group.counts.errors:,}]"
            cells += [_format_rate(group.wer) + errors, _format_interval(group)][:num_cells]
        if len(systems) == 2:
            first, second = (group.wer for group in row.groups)
            cells.append("" if first is None or second is None else f"{100 * (second - first):+.1f}")
        table.add_row(row.label, *cells, style=row.style)
    return _set_full_width(table)


def make_curve_table(points: Sequence[Mapping[str, Any]], metric: str = "WER") -> Table:
    """Make the table of a learning curve: share, size and dev error rate of each training subset."""
    table = _make_table("hours", "utterances", f"dev {metric} %")
    for point in points:
        cells = (f"{point['hours']:.2f}", f"{point['utterances']:,}", _format_rate(point["dev"]))
        table.add_row(f"{100 * point['share']:.0f} % of train", *cells)
    return _set_full_width(table)


def mark_examples(before: Score, after: Score, count: int) -> Group:
    """Show up to `count` utterances whose number of errors changed, about half of them for the worse if there are any.

    Each has its reference and both hypotheses with their errors marked; the largest changes come first.
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
    lines = []
    for change, i, j in [*better[: count - num_worse], *worse[:num_worse]]:
        errors = "1 error" if abs(change) == 1 else f"{abs(change)} errors"
        head = Text(f"{before.ids[i]} ({errors} {'fewer' if change < 0 else 'more'})", style="dim")
        lines += [head, Text("reference  " + " ".join(before.get_tokens(i)[0]))]
        lines += [Text("before     ") + mark_errors(before, i), Text("after      ") + mark_errors(after, j), Text("")]
    return Group(*lines)


def mark_errors(score: Score, index: int) -> Text:
    """Return a hypothesis with its errors marked by colour and sign: [wrong], (+inserted), (-deleted)."""
    words = []
    for operation, reference, hypothesis in score.get_alignment(index):
        shown = {"S": f"[{hypothesis}]", "D": f"(-{reference})", "I": f"(+{hypothesis})"}.get(operation, hypothesis)
        if shown:  # an optional word left out is not shown
            words.append(Text(shown, style=_STYLES.get(operation, "")))
    return Text(" ").join(words)


def format_percent(rate: float | None) -> str:
    """Format a rate, e.g. `62.5 %`; `-` if there is none."""
    return "-" if rate is None else f"{100 * rate:.1f} %"


def print_scores(
    results: Mapping[str, Score],
    analyses: Mapping[str, ErrorAnalysis],
    rules: Mapping[str, Sequence[tuple[str, Counts]]],
    comparisons: Mapping[tuple[str, str], Comparison],
    warnings: Sequence[str],
) -> None:
    """Print rates with counts, the error analysis, tables of groups and bins, comparisons and warnings.

    Args:
        results: scores by name of the system.
        analyses: error analyses by name of the system.
        rules: `count_by_rule` by name of the system.
        comparisons: comparisons by names of both systems.
    """
    console = Console(highlight=False, soft_wrap=True)
    for name, score in results.items():
        title = f"{name}: " if len(results) > 1 else _name_metric(score)
        console.print(Text(title, style="bold") + Text(score.summary()))
        lines = [*_describe_rules(score, rules[name]), *_describe_errors(score, analyses[name])]
        for line in lines:
            console.print(Text(f"    {line}", style="dim"))
    first = next(iter(results.values()))
    bins = [analyses[name].bins for name in results]
    if first.by or bins[0]:
        console.print()
        console.print(make_score_table(first, bins[0]) if len(results) == 1 else make_systems_table(results, bins))
    if comparisons:
        console.print()
    for (before, after), comparison in comparisons.items():
        console.print(Text(f"{before} to {after}: {comparison.summary()}"))
    if warnings:
        console.print()
    for text in warnings:
        console.print(Text(f"warning: {text}", style="yellow"))


def _name_metric(score: Score) -> str:
    noun = UNIT_NAMES[score.options.unit]
    if score.wer is None:
        return ""
    return "WER " if noun == "word" else f"{noun} error rate "


def _describe_rules(score: Score, rules: Sequence[tuple[str, Counts]]) -> list[str]:
    """Describe the rate before normalisation, and how each rule changed the number of errors."""
    if len(rules) < 2 or not score.counts.reference_words:
        return []
    steps = [(rule, after.errors - before.errors) for (_, before), (rule, after) in pairwise(rules)]
    changes = ", ".join(f"{rule} {change:+,}" for rule, change in steps if change)
    return [f"before normalisation {_format_counts(rules[0][1])}; change in errors by rule: {changes or 'none'}"]


def _describe_errors(score: Score, analysis: ErrorAnalysis) -> list[str]:
    """Describe the words and utterances with most errors."""
    lines = []
    for title, found in (
        ("most confused", [(f"{r} > {h}", n) for r, h, n in analysis.confusions]),
        ("most deleted", analysis.deleted),
        ("most inserted", analysis.inserted),
    ):
        if found:
            lines.append(f"{title}: " + ", ".join(f"{word} ({n:,})" for word, n in found[:_NUM_LISTED]))
    if analysis.worst:
        rows = analysis.worst[:_NUM_LISTED]
        worst = [f"{score.ids[i]} [{score.words[i, 1:].sum():,} / {score.words[i, :3].sum():,}]" for i in rows]
        lines.append(f"worst utterances: {', '.join(worst)}")
    if analysis.over_100_percent:
        lines.append(f"utterances with more errors than words: {len(analysis.over_100_percent):,}")
    if analysis.loops:
        rest = _format_counts(analysis.counts_without_loops)
        lines.append(f"hypotheses with repetition loops: {len(analysis.loops):,}; without them {rest}")
    return lines


def _make_rows(scores: Sequence[Score], by: str | None, bins: Sequence[BinCounts]) -> list[_Row]:
    """Make the rows for all utterances, for the groups of each column, and for the bins."""
    rows = [_Row("all", [score.overall for score in scores])]
    for column in scores[0].shown_columns:
        if by in (None, column) and all(column in score.by for score in scores):
            rows += _make_group_rows(scores, column)
    return rows + (_make_bin_rows(bins) if by is None else [])


def _make_group_rows(scores: Sequence[Score], column: str) -> list[_Row]:
    """Make a row per value of a column, sorted by the last system's rate, the highest first.

    Of many values only the worst and the best get a row, and all others share one between them.
    """
    values = [value for value in scores[0].by[column] if all(value in score.by[column] for score in scores)]
    groups = {value: [score.by[column][value] for score in scores] for value in values}
    order = sorted(groups, key=lambda value: (-(groups[value][-1].wer or 0.0), value))
    pooled = order[NUM_WORST:-NUM_BEST] if len(order) > MAX_GROUP_ROWS else []
    rows = []
    for value in order:
        if value not in pooled:
            rows.append(_Row(f"{column}: {_shorten(value)}", groups[value]))
        elif value == pooled[0]:
            sums = [_pool([groups[v][k] for v in pooled]) for k in range(len(scores))]
            rows.append(_Row(f"{column}: {len(pooled)} others", sums, "dim"))
    return rows


def _make_bin_rows(bins: Sequence[BinCounts]) -> list[_Row]:
    """Make a row per bin that all systems have."""
    rows = []
    for name in bins[0]:
        columns = [dict(found.get(name, [])) for found in bins]
        for label in columns[0]:
            if all(label in column for column in columns):
                groups = [GroupScore(column[label], None) for column in columns]
                rows.append(_Row(f"{_BIN_NAMES.get(name, name)}: {label}", groups))
    return rows


def _pool(groups: Sequence[GroupScore]) -> GroupScore:
    return GroupScore(sum((group.counts for group in groups), start=Counts()), None)


def _make_table(*heads: str) -> Table:
    table = Table("", *heads, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _set_full_width(table: Table) -> Table:
    """Give a table the width of its contents: rich would wrap or truncate cells if the terminal is narrower."""
    table.width = Console(width=10_000, file=io.StringIO()).measure(table).maximum
    return table


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 9]}…{name[-8:]}"


def _format_rate(rate: float | None) -> str:
    """Format a rate for a column whose head has the percent sign."""
    return format_percent(rate).removesuffix(" %")


def _format_interval(group: GroupScore) -> str:
    return "" if group.interval is None else f"{_format_rate(group.interval.low)}-{_format_rate(group.interval.high)}"


def _format_counts(counts: Counts) -> str:
    return f"{_format_rate(counts.wer)} % [{counts.errors:,} / {counts.reference_words:,}]"
