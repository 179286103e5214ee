"""Splitting normalised texts into the units that are counted, and joining compounds."""

from __future__ import annotations

import re

from speechxfer.errors import UserError, suggest_nearest

SCORING_UNITS = ("word", "char", "mixed")
UNIT_NAMES = {"word": "word", "char": "character", "mixed": "unit"}  # shown in reports

# Scripts written without spaces between words: kana, Han and its extensions, Thai, Lao, Khmer, Myanmar
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MIXED = re.compile(rf"[{_UNSPACED}][\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef]*|[^\s{_UNSPACED}]+")


def tokenize(text: str, unit: str = "word") -> list[str]:
    """Split a text into units.

    Args:
        unit: "word" (split at spaces), "char" (all characters but spaces) or "mixed" (characters of scripts written
            without spaces, words of others).
    """
    if unit == "word":
        return text.split()
    if unit == "char":
        return [c for c in text if not c.isspace()]
    return _MIXED.findall(text)


def check_unit(unit: str) -> None:
    """Raise UserError for an unknown unit."""
    if unit not in SCORING_UNITS:
        problem = f"unknown unit '{unit}'{suggest_nearest(unit, SCORING_UNITS)}"
        raise UserError(problem, fix=f"use one of {', '.join(SCORING_UNITS)}")


def join_compounds(reference: list[str], hypothesis: list[str]) -> list[str]:
    """Split or join compounds of the hypothesis as in the reference (`ice cream`, `icecream`, `ice-cream`).

    Words that the reference contains in the same spelling are left as they are.
    """
    bare = [word.replace("-", "") for word in reference]
    whole = dict(zip(bare, reference, strict=True))
    pieces: dict[str, list[str]] = {}
    for width in (2, 3):
        for i in range(len(reference) - width + 1):
            pieces.setdefault("".join(bare[i : i + width]), reference[i : i + width])
    known = set(reference)
    result: list[str] = []
    i = 0
    while i < len(hypothesis):
        word = hypothesis[i]
        if word not in known:
            key = word.replace("-", "")
            if key in pieces:
                result += pieces[key]
                i += 1
                continue
            if key in whole:
                result.append(whole[key])
                i += 1
                continue
        for width in (3, 2):
            part = hypothesis[i : i + width]
            key = "".join(part).replace("-", "")
            if len(part) == width and key in whole and not all(w in known for w in part):
                result.append(whole[key])
                i += width
                break
        else:
            result.append(word)
            i += 1
    return result
