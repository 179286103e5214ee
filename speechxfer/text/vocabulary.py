"""The characters that a CTC head can write, taken from the training part only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

BLANK_SYMBOL, UNKNOWN_SYMBOL, SPACE_SYMBOL = (
    "<pad>",
    "<unk>",
    "|",
)  # the names that transformers' Wav2Vec2CTCTokenizer gives them


def build_vocabulary(texts: Iterable[str]) -> dict[str, int]:
    """Symbol to its place: the blank at 0, the space and the unknown, then every character in its sort order.

    texts: normalised. Characters are code points, so a combining mark is a symbol of its own.
    """
    characters = sorted({character for text in texts for character in text if not character.isspace()} - {SPACE_SYMBOL})
    return {symbol: place for place, symbol in enumerate([BLANK_SYMBOL, SPACE_SYMBOL, UNKNOWN_SYMBOL, *characters])}


def encode_text(text: str, vocabulary: dict[str, int]) -> tuple[list[int], set[str]]:
    """The places of a text's characters, words parted by `|`, and the characters that the vocabulary lacks."""
    characters = SPACE_SYMBOL.join(text.split())
    lacking = {character for character in characters if character not in vocabulary}
    return [vocabulary[character] for character in characters if character in vocabulary], lacking


def detect_case(characters: Iterable[str]) -> Literal["upper", "lower", "mixed"] | None:
    """The case in which a model's characters are written; None where none of them has case, or where there are none."""
    letters = {character for character in characters if character.upper() != character.lower()}
    if not letters:
        return None
    if all(letter == letter.lower() for letter in letters):
        return "lower"
    return "upper" if all(letter == letter.upper() for letter in letters) else "mixed"
