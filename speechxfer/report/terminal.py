"""Results as tables and marked texts for a terminal (rich)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from speechxfer.scoring import Comparison, Counts, Part, Score
from speechxfer.scoring.insight import Insight

_STYLES = {"S": "bold red", "D": "bold magenta", "I": "bold yellow"}


def score_table(score: Score) -> Table:
    """One row for all utterances, then one for each value of each column broken down by."""
    table = Table("", "WER %", "95 %", "words", "sub", "del", "ins", "CER %", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, part in _rows(score, None):
        c = part.counts
        tallies = (c.reference_words, c.substitutions, c.deletions, c.insertions)
        table.add_row(label, per_cent(part.wer), _interval(part), *(f"{n:,}" for n in tallies), per_cent(part.cer))
    return table


def before_after_table(before: Score, after: Score, *, by: str | None = None) -> Table:
    """WER before and after, for all and for each value of column `by` (default: every column of the breakdown)."""
    table = Table("", "words", "before %", "95 %", "after %", "95 %", "change", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    later = dict(_rows(after, by))
    for label, part in _rows(before, by):
        other = later.get(label)
        if other is None:
            continue
        change = "" if part.wer is None or other.wer is None else f"{100 * (other.wer - part.wer):+.1f}"
        words = f"{part.counts.reference_words:,}"
        table.add_row(label, words, per_cent(part.wer), _interval(part), per_cent(other.wer), _interval(other), change)
    return table


def marked_examples(before: Score, after: Score, count: int) -> Group:
    """The `count` utterances whose errors changed most: reference, then each hypothesis with its errors marked."""
    place = {name: i for i, name in enumerate(after.ids)}
    pairs = [(i, place[name]) for i, name in enumerate(before.ids) if name in place]
    errors = [(int(before.words[i, 1:].sum()), int(after.words[j, 1:].sum())) for i, j in pairs]
    order = sorted(range(len(pairs)), key=lambda k: (-abs(errors[k][0] - errors[k][1]), pairs[k][0]))
    lines = []
    for k in order[:count]:
        i, j = pairs[k]
        reference = Text.assemble((before.ids[i] + "\n", "dim"), "reference  ", " ".join(before.tokens(i)[0]))
        lines += [reference, Text("before     ") + marked(before, i), Text("after      ") + marked(after, j), Text("")]
    return Group(*lines)


def marked(score: Score, index: int) -> Text:
    """A hypothesis with its errors marked by colour and sign: [wrong], (+inserted), (-deleted)."""
    words = []
    for operation, reference, hypothesis in score.alignment(index):
        shown = {"S": f"[{hypothesis}]", "D": f"(-{reference})", "I": f"(+{hypothesis})"}.get(operation, hypothesis)
        words.append(Text(shown, style=_STYLES.get(operation, "")))
    return Text(" ").join(words)


def per_cent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"


def _interval(part: Part) -> str:
    return "" if part.interval is None else f"{per_cent(part.interval.low)}-{per_cent(part.interval.high)}"


def _rows(score: Score, by: str | None) -> list[tuple[str, Part]]:
    columns = score.by if by is None else {c: g for c, g in score.by.items() if c == by}
    groups = [(f"{column}: {value}", part) for column, group in columns.items() for value, part in group.items()]
    return [("all", score.total), *groups]


def print_scores(
    results: Mapping[str, Score],
    insights: Mapping[str, Insight],
    rules: Mapping[str, Sequence[tuple[str, Counts]]],
    comparisons: Mapping[tuple[str, str], Comparison],
    warnings: Sequence[str],
) -> None:
    """What `speechxfer score` prints: rates with counts, groups, comparisons, the commonest errors, warnings."""
    console = Console(highlight=False, soft_wrap=True)
    for name, score in results.items():
        title = f"{name}: " if len(results) > 1 else "WER "
        console.print(Text(title, style="bold") + Text(score.summary()))
        raw = rules[name]
        if len(raw) > 1 and score.counts.reference_words:
            steps = [(rule, after.errors - before.errors) for (_, before), (rule, after) in pairwise(raw)]
            shown = ", ".join(f"{rule} {change:+,}" for rule, change in steps if change)
            written = f"    as written {per_cent(raw[0][1].wer)} %"
            console.print(Text(f"{written}; errors by rule: {shown or 'no change'}", style="dim"))
        insight = insights[name]
        if insight.confusions:
            shown = ", ".join(f"{r} > {h} ({n})" for r, h, n in insight.confusions[:5])
            console.print(Text(f"    most confused: {shown}", style="dim"))
        if insight.loops:
            rest = per_cent(insight.without_loops.wer)
            console.print(Text(f"    {len(insight.loops)} hypotheses loop; WER without them {rest} %"))
        if score.by:
            console.print(score_table(score))
    for (before, after), comparison in comparisons.items():
        console.print(Text(f"{before} to {after}: {comparison.summary()}"))
    for text in warnings:
        console.print(Text(f"warning: {text}", style="yellow"))
