"""The symbols of a CTC head, built from training texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

# named as in transformers' Wav2Vec2CTCTokenizer
BLANK_SYMBOL, UNKNOWN_SYMBOL, SPACE_SYMBOL = "<pad>", "<unk>", "|"


def build_vocabulary(texts: Iterable[str]) -> dict[str, int]:
    """Return the index of each symbol: blank (0), space, unknown, then all characters in sorted order.

    Args:
        texts: normalised texts. Characters are code points, so a combining mark is a symbol of its own.
    """
    characters = sorted({character for text in texts for character in text if not character.isspace()} - {SPACE_SYMBOL})
    return {symbol: index for index, symbol in enumerate([BLANK_SYMBOL, SPACE_SYMBOL, UNKNOWN_SYMBOL, *characters])}


def encode_text(text: str, vocabulary: dict[str, int]) -> tuple[list[int], set[str]]:
    """Return the ids of a text's characters, with `|` between words, and the characters not in the vocabulary."""
    characters = SPACE_SYMBOL.join(text.split())
    lacking = {character for character in characters if character not in vocabulary}
    return [vocabulary[character] for character in characters if character in vocabulary], lacking


def detect_case(characters: Iterable[str]) -> Literal["upper", "lower", "mixed"] | None:
    """Return the case of a model's characters; None if no character has case."""
    letters = {character for character in characters if character.upper() != character.lower()}
    if not letters:
        return None
    if all(letter == letter.lower() for letter in letters):
        return "lower"
    return "upper" if all(letter == letter.upper() for letter in letters) else "mixed"
