"""Results as tables and marked texts for a terminal (rich)."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from speechxfer.scoring import Part, Score

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
