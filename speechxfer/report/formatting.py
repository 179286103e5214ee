"""Formatting of rates and names, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterable


def format_percent(rate: float | None) -> str:
    """Format a rate, e.g. `62.5 %`; `-` if there is none."""
    return "-" if rate is None else f"{100 * rate:.1f} %"


def shorten_middle(text: str, length: int) -> str:
    """Shorten a text to `length` characters: its beginning, an ellipsis, and more of its end."""
    return text if len(text) <= length else f"{text[: length // 3]}…{text[length // 3 + 1 - length :]}"


def shorten_names(names: Iterable[str], length: int) -> list[str]:
    """Shorten names to `length` characters, or to the least greater length at which different names stay different."""
    listed = list(names)
    while True:
        shortened = [shorten_middle(name, length) for name in listed]
        if len(set(shortened)) == len(set(listed)):
            return shortened
        length += 1
