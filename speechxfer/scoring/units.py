"""Chooses the unit of an error rate by the script of the references."""

from __future__ import annotations

import re
from collections.abc import Iterable

from speechxfer.scoring.tokens import LABEL_UNIT, UNSPACED_CHARACTERS

AUTO_UNIT = "auto"
METRIC_NAMES = {"word": "WER", "char": "CER", "mixed": "error rate", LABEL_UNIT: "accuracy"}
_UNSPACED = re.compile(f"[{UNSPACED_CHARACTERS}]")
_LETTER = re.compile(r"[^\W\d_]", re.UNICODE)


def is_accuracy(metric: str) -> bool:
    """Return whether a metric is an accuracy, of which higher is better; all others are error rates."""
    return metric.endswith("accuracy")


def convert_error_rate(rate: float, metric: str) -> float:
    """Return an error rate as the metric is shown: an accuracy is the rest."""
    return 1 - rate if is_accuracy(metric) else rate


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
