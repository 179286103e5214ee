"""The common result of all transcript readers, and reading text as strict UTF-8 without byte order mark, NFC."""

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
    """One row of a file (a tuple, because files have very many).

    Attributes:
        line: line number, from 1.
        other: the text of the other side, if the row has both.
        absent: the row's text is null, which is not the same as empty.
    """

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
    """Time of an stm's utterance, in seconds from the start of the recording."""

    recording: str
    channel: str
    start: float
    end: float


@dataclass(frozen=True)
class TranscriptFile:
    """The utterances of one file, in file order.

    Attributes:
        words: the words of a ctm, which has no utterances.
        ignored: segments of an stm that are not scored.
        column: the column of a table that the texts were read from.
        other_column: the column that the texts of the other side were read from, if the table has both.
    """

    path: Path
    format: str
    utterances: list[Utterance]
    words: list[TimedWord] = field(default_factory=list)
    ignored: list[Utterance] = field(default_factory=list)
    column: str | None = None
    other_column: str | None = None


@dataclass(frozen=True)
class TimedWord:
    """A word of a ctm, with times in seconds from the start of the recording."""

    recording: str
    channel: str
    start: float
    duration: float
    word: str
    line: int


def read_nfc_text(path: Path) -> str:
    """Read a file's text, NFC-normalised. Raises UserError naming the line of the first byte that is not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError("is encoded as UTF-16, not UTF-8", where=str(path), fix=f"iconv -f UTF-16 -t UTF-8 {path.name}")
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
        raise UserError(
            "is not a text file: it contains a NUL byte",
            where=f"{path}:{text.count(chr(10), 0, text.index(chr(0))) + 1}",
        )
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def iter_numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Return (number from 1, line) of each line that is not blank. Lines end at \\n and \\r\\n only."""
    lines = read_nfc_text(path).replace("\r\n", "\n").split("\n")
    return [(n, line) for n, line in enumerate(lines, start=1) if line and not line.isspace()]


def require_utterances(path: Path, utterances: list[Utterance]) -> list[Utterance]:
    """Return `utterances`. Raises UserError if there are none."""
    if not utterances:
        raise UserError("no utterances", where=str(path))
    return utterances
