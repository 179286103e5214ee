"""Chooses the unit of an error rate by the script of the references."""

from __future__ import annotations

import re
from collections.abc import Iterable

from speechxfer.scoring.tokens import UNSPACED_CHARACTERS

AUTO_UNIT = "auto"
METRIC_NAMES = {"word": "WER", "char": "CER", "mixed": "error rate"}
_UNSPACED = re.compile(f"[{UNSPACED_CHARACTERS}]")
_LETTER = re.compile(r"[^\W\d_]", re.UNICODE)


def choose_unit(references: Iterable[str]) -> str:
    """Return "char" if most letters are of scripts written without spaces (Chinese, Japanese, Thai, ...), else "word".

    A sentence of such a script is one word, so that its word error rate is 0 or 100 %.
    """
    unspaced = letters = 0
    for text in references:
        letters += len(text) if text.isascii() else len(_LETTER.findall(text))
        unspaced += 0 if text.isascii() else len(_UNSPACED.findall(text))
    return "char" if 2 * unspaced > letters else "word"


def resolve_unit(unit: str, references: Iterable[str]) -> str:
    """Return the unit, chosen by the references if it is "auto"."""
    return choose_unit(references) if unit == AUTO_UNIT else unit
