"""Formatting of table cells and tables, for scripts/tables.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Document = dict[str, Any]
Rows = list[list[str]]


def format_percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def format_minutes(seconds: float, *, busy: bool) -> str:
    """Return the minutes; `<` marks an upper bound, from a machine that was also doing other work."""
    return f"{'< ' if busy else ''}{seconds / 60:.1f}"


def between(interval: list[float] | None, over: str = "") -> str:
    return "" if interval is None else f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f}{over})"


def rated(part: Document, measure: str) -> str:
    """Return e.g. `21.5 % (19.8 to 23.4)`; the accuracy if the measure is not WER."""
    if part["wer"] is None:
        return "no rate: no reference words"
    over = "" if part["speakers"] else ", over utterances"
    if measure == "WER":
        return format_percent(part["wer"]) + between(part["interval"], over)
    interval = part["interval"] and [max(0.0, 1 - part["interval"][1]), 1 - part["interval"][0]]
    return f"accuracy {format_percent(1 - part['wer'])}{between(interval, over)}"


def timed(spread: Document, unit: str = " s") -> str:
    """Return median and range, e.g. `0.41 s (0.40 to 0.45)`."""
    digits = 0 if spread["median"] >= 100 else 1 if spread["median"] >= 10 else 2
    median, low, high = (f"{spread[name]:.{digits}f}" for name in ("median", "low", "high"))
    return f"{median}{unit} ({low} to {high})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; pipes within cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)
