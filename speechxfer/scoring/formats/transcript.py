"""The common result of all transcript readers, and reading text as strict UTF-8 without byte order mark, NFC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from speechxfer.errors import UserError
from speechxfer.tables.text_file import read_text
from speechxfer.text.characters import compose
from speechxfer.text.normalise import Side

__all__ = [
    "ChannelKey",
    "SegmentTime",
    "Side",
    "TimedWord",
    "TranscriptFile",
    "Utterance",
    "iter_numbered_lines",
    "read_nfc_text",
    "require_utterances",
    "split_lines",
]

ChannelKey = tuple[str, str]  # recording and channel, in lower case
_LINE_END = re.compile(r"\r*\n|\r")


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
    """Time of an stm's utterance, in seconds from the start of the recording.

    Attributes:
        recording, channel: as written in the file.
    """

    recording: str
    channel: str
    start: float
    end: float

    @property
    def key(self) -> ChannelKey:
        return self.recording.lower(), self.channel.lower()


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
    """A word of a ctm, or its alternatives in sclite's notation, with times in seconds from the start of the recording.

    Attributes:
        recording, channel: as written in the file.
        middle: midpoint of the word; of alternatives, the latest midpoint.
    """

    recording: str
    channel: str
    start: float
    middle: float
    end: float
    word: str
    line: int
    has_alternatives: bool = False

    @property
    def key(self) -> ChannelKey:
        return self.recording.lower(), self.channel.lower()


def read_nfc_text(path: Path) -> str:
    """Read a UTF-8 file, NFC-normalised (see `speechxfer.tables.text_file.read_text`)."""
    text = read_text(path)
    return compose(text)


def split_lines(text: str) -> list[str]:
    """Split at \\n, \\r\\n and \\r only; nothing follows the last line's end."""
    lines = _LINE_END.split(text) if "\r" in text else text.split("\n")
    return lines if lines[-1] else lines[:-1]


def iter_numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Return (number from 1, line) of each line that is not blank."""
    lines = split_lines(read_nfc_text(path))
    return [(n, line) for n, line in enumerate(lines, start=1) if line and not line.isspace()]


def require_utterances(path: Path, utterances: list[Utterance]) -> list[Utterance]:
    """Return `utterances`. Raises UserError if there are none."""
    if not utterances:
        raise UserError("no utterances", where=str(path))
    return utterances
