"""Paths whose bytes are not UTF-8: Python holds them with surrogates, which neither Arrow nor a terminal accepts."""

from __future__ import annotations

import os
from pathlib import Path

_SURROGATES = range(0xDC80, 0xDD00)  # of the bytes 0x80 to 0xff (PEP 383)
_PRIVATE = range(0x10FE80, 0x10FF00)  # private-use characters of the same bytes
_TO_PRIVATE = dict(zip(_SURROGATES, _PRIVATE, strict=True))
_TO_SURROGATES = dict(zip(_PRIVATE, _SURROGATES, strict=True))


def encode_path(path: str | Path) -> str:
    """Return a path as a string that an Arrow column holds; `decode_path` returns the path."""
    return os.fspath(path).translate(_TO_PRIVATE)


def decode_path(stored: str) -> str:
    """Return the path that `encode_path` stored. A file that has such characters in its name keeps them."""
    decoded = stored.translate(_TO_SURROGATES)
    return stored if decoded == stored or os.path.lexists(stored) else decoded


def make_printable(path: str | Path) -> str:
    r"""Return a path with every byte that is not UTF-8 written as \xNN, for messages, ids and output files."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
