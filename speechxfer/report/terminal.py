"""Results as tables and marked texts for a terminal (rich)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from speechxfer.scoring import Comparison, Counts, GroupScore, Score
from speechxfer.scoring.error_analysis import ErrorAnalysis
from speechxfer.scoring.tokens import UNIT_NAMES

MAX_GROUP_ROWS = 24  # values of a column from which a table shows some of them only
NUM_WORST, NUM_BEST = 8, 4  # of a long column
_INTERVALS = 3  # systems side by side up to which their intervals fit too
_NAME = 24  # characters of a name in a table
_BIN_NAMES = {"words": "length"}
BinCounts = Mapping[str, Sequence[tuple[str, Counts]]]
_STYLES = {"S": "bold red", "D": "bold magenta", "I": "bold yellow"}


def make_score_table(score: Score, bins: BinCounts | None = None) -> Table:
    """One row for all utterances, then the groups of each column, highest rate first, then `Insight.bins`."""
    noun = UNIT_NAMES[score.options.unit]
    rate = "WER %" if noun == "word" else "rate %"
    table = _table(rate, "95 %", f"{noun}s", "sub", "del", "ins", "CER %")
    for label, (part,), style in _rows([score], None, [bins or {}]):
        c = part.counts
        tallies = (c.reference_words, c.substitutions, c.deletions, c.insertions)
        cells = [format_percent(part.wer), _interval(part), *(f"{n:,}" for n in tallies), format_percent(part.cer)]
        table.add_row(label, *cells, style=style)
    return _whole(table)


def make_before_after_table(before: Score, after: Score, *, by: str | None = None) -> Table:
    """WER [errors] before and after, for all and for the groups of column `by` (default: of every column that a person
    would read), the highest rate afterwards first."""
    return make_systems_table({"before": before, "after": after}, by=by)


def make_systems_table(systems: Mapping[str, Score], bins: Sequence[BinCounts] = (), *, by: str | None = None) -> Table:
    """Systems side by side: WER [errors] and interval of each; of two, the change from the first to the second."""
    intervals = len(systems) <= _INTERVALS
    heads = [head for name in systems for head in (f"{_short(name)}\n% [errors]", "95 %")[: 1 + intervals]]
    noun = UNIT_NAMES[next(iter(systems.values())).options.unit]
    table = _table(f"{noun}s", *heads, *(["change"] if len(systems) == 2 else []))
    for label, parts, style in _rows(list(systems.values()), by, bins or [{}] * len(systems)):
        cells = [f"{parts[0].counts.reference_words:,}"]
        for part in parts:
            rate = (
                format_percent(part.wer) if part.wer is None else f"{format_percent(part.wer)} [{part.counts.errors:,}]"
            )
            cells += [rate, _interval(part)][: 1 + intervals]
        if len(systems) == 2:
            first, second = (part.wer for part in parts)
            cells.append("" if first is None or second is None else f"{100 * (second - first):+.1f}")
        table.add_row(label, *cells, style=style)
    return _whole(table)


def make_curve_table(points: Sequence[Mapping[str, Any]], measure: str = "WER") -> Table:
    """A learning curve: of each portion of the training part its share, size and dev rate."""
    table = _table("hours", "utterances", f"dev {measure} %")
    for point in points:
        cells = (f"{point['hours']:.2f}", f"{point['utterances']:,}", format_percent(point["dev"]))
        table.add_row(f"{point['share']:.0%} of train", *cells)
    return _whole(table)


def mark_examples(before: Score, after: Score, count: int) -> Group:
    """Up to `count` utterances whose errors changed, about half of them for the worse (where there are such): the
    reference, then each hypothesis with its errors marked. Those that changed most come first."""
    place = {name: i for i, name in enumerate(after.ids)}
    changed = []
    for i, name in enumerate(before.ids):
        if name in place:
            j = place[name]
            change = int(after.words[j, 1:].sum() - before.words[i, 1:].sum())
            changed.append((change, i, j))
    changed.sort(key=lambda one: (-abs(one[0]), one[1]))
    better, worse = [c for c in changed if c[0] < 0], [c for c in changed if c[0] > 0]
    of_worse = min(len(worse), max(count // 2, count - len(better)))
    lines = []
    for change, i, j in [*better[: count - of_worse], *worse[:of_worse]]:
        errors = "1 error" if abs(change) == 1 else f"{abs(change)} errors"
        head = Text(f"{before.ids[i]} ({errors} {'fewer' if change < 0 else 'more'})", style="dim")
        lines += [head, Text("reference  " + " ".join(before.get_tokens(i)[0]))]
        lines += [Text("before     ") + mark_errors(before, i), Text("after      ") + mark_errors(after, j), Text("")]
    return Group(*lines)


def mark_errors(score: Score, index: int) -> Text:
    """A hypothesis with its errors marked by colour and sign: [wrong], (+inserted), (-deleted)."""
    words = []
    for operation, reference, hypothesis in score.get_alignment(index):
        shown = {"S": f"[{hypothesis}]", "D": f"(-{reference})", "I": f"(+{hypothesis})"}.get(operation, hypothesis)
        if shown:  # nothing is said of an optional word left out
            words.append(Text(shown, style=_STYLES.get(operation, "")))
    return Text(" ").join(words)


def format_percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"


def _table(*heads: str) -> Table:
    table = Table("", *heads, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _whole(table: Table) -> Table:
    """Wide enough for all it holds: rich would fold or cut the cells of a table wider than the terminal."""
    table.width = Console(width=10_000, file=io.StringIO()).measure(table).maximum
    return table


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 9]}…{name[-8:]}"


def _interval(part: GroupScore) -> str:
    return "" if part.interval is None else f"{format_percent(part.interval.low)}-{format_percent(part.interval.high)}"


def _rows(
    scores: Sequence[Score], by: str | None, bins: Sequence[BinCounts]
) -> list[tuple[str, list[GroupScore], str | None]]:
    """A label, every system's part, and a style: all, then each column's groups, by the last system's rate from the
    highest. Of a long column the worst and the best, and between them one row for the others together. Then the bins.
    """
    rows: list[tuple[str, list[GroupScore], str | None]] = [("all", [score.overall for score in scores], None)]
    for column in scores[0].shown_columns:
        if by not in (None, column) or any(column not in score.by for score in scores):
            continue
        values = [value for value in scores[0].by[column] if all(value in score.by[column] for score in scores)]
        groups = {value: [score.by[column][value] for score in scores] for value in values}
        order = sorted(groups, key=lambda value: (-(groups[value][-1].wer or 0.0), value))
        between = order[NUM_WORST:-NUM_BEST] if len(order) > MAX_GROUP_ROWS else []
        for value in order:
            if value not in between:
                rows.append((f"{column}: {_short(value)}", groups[value], None))
            elif value == between[0]:
                together = [_sum([groups[v][k] for v in between]) for k in range(len(scores))]
                rows.append((f"{column}: {len(between)} others", together, "dim"))
    for name in bins[0] if by is None else ():
        columns = [dict(found.get(name, [])) for found in bins]
        for label in columns[0]:
            if all(label in column for column in columns):
                rows.append(
                    (f"{_BIN_NAMES.get(name, name)}: {label}", [GroupScore(c[label], None) for c in columns], None)
                )
    return rows


def _sum(parts: Sequence[GroupScore]) -> GroupScore:
    return GroupScore(sum((part.counts for part in parts), start=Counts()), None)


def print_scores(
    results: Mapping[str, Score],
    insights: Mapping[str, ErrorAnalysis],
    rules: Mapping[str, Sequence[tuple[str, Counts]]],
    comparisons: Mapping[tuple[str, str], Comparison],
    warnings: Sequence[str],
) -> None:
    """What `speechxfer score` prints: rates with counts, what went wrong, groups, comparisons, warnings."""
    console = Console(highlight=False, soft_wrap=True)
    for name, score in results.items():
        noun = UNIT_NAMES[score.options.unit]
        measure = "" if score.wer is None else "WER " if noun == "word" else f"{noun} error rate "
        title = f"{name}: " if len(results) > 1 else measure
        console.print(Text(title, style="bold") + Text(score.summary()))
        for line in _wrong(score, insights[name], rules[name]):
            console.print(Text(f"    {line}", style="dim"))
    first = next(iter(results.values()))
    bins = [insights[name].bins for name in results]
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


def _wrong(score: Score, insight: ErrorAnalysis, rules: Sequence[tuple[str, Counts]]) -> list[str]:
    """Lines below the rate: what normalising did, which words and utterances went wrong."""
    lines = []
    if len(rules) > 1 and score.counts.reference_words:
        steps = [(rule, after.errors - before.errors) for (_, before), (rule, after) in pairwise(rules)]
        shown = ", ".join(f"{rule} {change:+,}" for rule, change in steps if change)
        lines.append(f"as written {_rate(rules[0][1])}; errors by rule: {shown or 'no change'}")
    for title, found in (
        ("most confused", [(f"{r} > {h}", n) for r, h, n in insight.confusions]),
        ("most deleted", insight.deleted),
        ("most inserted", insight.inserted),
    ):
        if found:
            lines.append(f"{title}: " + ", ".join(f"{word} ({n:,})" for word, n in found[:5]))
    if insight.worst:
        worst = [f"{score.ids[i]} [{score.words[i, 1:].sum():,} / {score.words[i, :3].sum():,}]" for i in insight.worst]
        lines.append(f"worst utterances: {', '.join(worst[:5])}")
    if insight.over_100_percent:
        lines.append(f"utterances with more errors than words: {len(insight.over_100_percent):,}")
    if insight.loops:
        lines.append(
            f"hypotheses that repeat themselves: {len(insight.loops):,}; without, {_rate(insight.counts_without_loops)}"
        )
    return lines


def _rate(counts: Counts) -> str:
    return f"{format_percent(counts.wer)} % [{counts.errors:,} / {counts.reference_words:,}]"
