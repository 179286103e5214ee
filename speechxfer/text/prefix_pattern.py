"""One regular expression of many literal strings, the first of which that matches is taken."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MAX_DEPTH = 8  # nested groups; deeper, the strings are listed one by one


def make_prefix_pattern(strings: Sequence[tuple[str, str]]) -> str:
    """Return a pattern equal to `string + condition | ...` in the given order, in which common prefixes are shared.

    Thousands of alternatives are tried one by one by `re`; with shared prefixes a character rules out most at once.

    Args:
        strings: (literal string, regular expression that must follow it).
    """
    return _join(strings, 0) if strings else r"(?!)"


def _join(strings: Sequence[tuple[str, str]], depth: int) -> str:
    if depth >= _MAX_DEPTH or len(strings) == 1:
        return "|".join(re.escape(string) + condition for string, condition in strings)
    parts: list[str] = []
    groups: dict[str, list[tuple[str, str]]] = {}
    for string, condition in strings:
        if string:  # strings of different first characters exclude each other: only the order within a group counts
            groups.setdefault(string[0], []).append((string[1:], condition))
        else:  # matches before any later string
            parts += _close(groups, depth)
            groups = {}
            parts.append(condition)
    return "|".join([*parts, *_close(groups, depth)])


def _close(groups: dict[str, list[tuple[str, str]]], depth: int) -> list[str]:
    return [f"{re.escape(character)}(?:{_join(rest, depth + 1)})" for character, rest in groups.items()]
