"""What every reader makes of a file, and how a file's text is taken: strict UTF-8, byte order mark dropped, NFC."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from speechxfer.errors import UserError

Side = Literal["reference", "hypothesis"]


class Utterance(NamedTuple):
    """One row (a tuple, as files hold a great many). other: the other side's text, where the row holds both.
    absent: the row is there but its text is not (null, which is not the same as empty)."""

    id: str
    text: str
    line: int
    audio: str | None = None
    speaker: str | None = None
    other: str | None = None
    columns: Mapping[str, str] = MappingProxyType({})
    segment: SegmentTime | None = None
    absent: bool = False


@dataclass(frozen=True)
class SegmentTime:
    """Where an stm's utterance lies: seconds from the start of the recording."""

    recording: str
    channel: str
    start: float
    end: float


@dataclass(frozen=True)
class TranscriptFile:
    """The utterances of one file, in its order; `words` instead for a ctm, which has no utterances of its own.
    column: where a table's texts were found."""

    path: Path
    format: str
    utterances: list[Utterance]
    words: list[TimedWord] = field(default_factory=list)
    ignored: list[Utterance] = field(default_factory=list)  # an stm's segments that are not scored
    column: str | None = None


@dataclass(frozen=True)
class TimedWord:
    """A line of a ctm: seconds from the start of the recording."""

    recording: str
    channel: str
    start: float
    duration: float
    word: str
    line: int


def read_nfc_text(path: Path) -> str:
    """The file's text, NFC. Raises UserError naming the line of the first byte that is not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError("UTF-16, not UTF-8", where=str(path), fix=f"iconv -f UTF-16 -t UTF-8 {path.name}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            where=f"{path}:{line}",
            fix="save the file as UTF-8 (from Latin-1: iconv -f LATIN1 -t UTF-8)",
        ) from None
    if "\0" in text:
        raise UserError("a NUL byte: not a text file", where=f"{path}:{text.count(chr(10), 0, text.index(chr(0))) + 1}")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def iter_numbered_lines(path: Path) -> list[tuple[int, str]]:
    """(number from 1, line) of every line with something on it. Only \\n and \\r\\n end lines."""
    lines = read_nfc_text(path).replace("\r\n", "\n").split("\n")
    return [(n, line) for n, line in enumerate(lines, start=1) if line and not line.isspace()]


def require_utterances(path: Path, utterances: list[Utterance]) -> list[Utterance]:
    """`num_utterances`, or a UserError where a file holds none."""
    if not utterances:
        raise UserError("no utterances", where=str(path))
    return utterances
