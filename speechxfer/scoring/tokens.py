"""Splitting normalised texts into the units that are counted."""

from __future__ import annotations

import re
import unicodedata

from speechxfer.errors import UserError, suggest_nearest

LABEL_UNIT = "label"
SCORING_UNITS = ("word", "char", "mixed", LABEL_UNIT)
UNIT_NAMES = {"word": "word", "char": "character", "mixed": "unit", LABEL_UNIT: "label"}  # shown in reports

# Thai, Lao, Myanmar, Khmer; then 々〆〇, kana, bopomofo, kana extensions, Han, half-width kana, Han extensions
_WITH_MARKS = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF))
UNSPACED_CHARACTERS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3005-\u3007\u3040-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_MARKS = "\ufe00-\ufe0f\U000e0100-\U000e01ef" + "".join(
    character
    for low, high in _WITH_MARKS
    for character in map(chr, range(low, high + 1))
    if unicodedata.category(character).startswith("M")
)
_MIXED = re.compile(rf"[{UNSPACED_CHARACTERS}][{_MARKS}]*|[^\s{UNSPACED_CHARACTERS}]+")
_WITH_PUNCTUATION = UNSPACED_CHARACTERS + "\u3001-\u303f\uff00-\uff65"
_AFTER_UNSPACED = re.compile(rf"([{_WITH_PUNCTUATION}][{_MARKS}]*)\s+")
_BEFORE_UNSPACED = re.compile(rf"\s+(?=[{_WITH_PUNCTUATION}])")


def tokenize(text: str, unit: str = "word") -> list[str]:
    """Split a text into units.

    Args:
        unit: "word" (split at spaces), "char" (all characters but spaces), "mixed" (characters of scripts written
            without spaces, words of others) or "label" (the text without the spaces around it, whole).
    """
    if unit == "word":
        return text.split()
    if unit == "char":
        return [c for c in text if not c.isspace()]
    if unit == LABEL_UNIT:
        return [label] if (label := text.strip()) else []
    return _MIXED.findall(text)


def remove_optional_spaces(text: str) -> str:
    """Remove the spaces next to characters of scripts written without spaces, where they do not separate words.

    They come from punctuation that a normaliser removed, or from a segmentation into words.
    """
    if text.isascii():
        return text
    return _BEFORE_UNSPACED.sub("", _AFTER_UNSPACED.sub(r"\1", text))


def check_unit(unit: str) -> None:
    """Raise UserError for an unknown unit."""
    if unit not in SCORING_UNITS:
        problem = f"unknown unit '{unit}'{suggest_nearest(unit, SCORING_UNITS)}"
        raise UserError(problem, fix=f"use one of {', '.join(SCORING_UNITS)}")
