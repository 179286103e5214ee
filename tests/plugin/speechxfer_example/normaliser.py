"""A normaliser: digits are read as words, one by one."""

from __future__ import annotations

from speechxfer.text.normalise import DEFAULT_RULES, Normaliser, Rule

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = {str(digit): name for digit, name in enumerate(NAMES)}


def spell_digits(text: str) -> str:
    return " ".join("".join(f" {WORDS[c]} " if c in WORDS else c for c in text).split())


def make_digits() -> Normaliser:
    """Return the normaliser `digits`. `by_word`: no rule looks at more than one word."""
    return Normaliser("digits", "1", (*DEFAULT_RULES, Rule("digits", spell_digits)), by_word=True)
