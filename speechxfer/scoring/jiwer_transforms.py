"""jiwer's transforms as normalisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_jiwer_transform(normaliser: object) -> bool:
    """Whether an object is one of jiwer's transforms, without importing jiwer."""
    return any(kind.__module__.startswith("jiwer.") for kind in type(normaliser).__mro__)


def wrap_jiwer_transform(transform: Callable[[Any], Any]) -> Callable[[str], str]:
    """Return a jiwer transform as a normaliser str -> str; transforms that split into words are joined by spaces."""

    def normalise(text: str) -> str:
        return " ".join(_flatten(transform(text)))

    normalise.__name__ = f"jiwer.{type(transform).__name__}"
    return normalise


def _flatten(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [word for one in value for word in _flatten(one)]
