"""What a model says of one utterance, with the times of its cuts, and the one line of JSON that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import east_asian_width

from speechxfer.decoding.forced_alignment import WordTiming
from speechxfer.errors import UserError


@dataclass(frozen=True)
class TranscriptSegment:
    """A stretch of a file and what is said in it. start, end: seconds of the file; so are those of its words."""

    start: float
    end: float
    text: str
    words: list[WordTiming] | None = None  # where they were asked for

    def to_json(self) -> dict[str, Any]:
        line: dict[str, Any] = {"start": self.start, "end": self.end, "text": self.text}
        return line if self.words is None else line | {"words": _stated(self.words)}


@dataclass(frozen=True)
class Transcript:
    """What the model says of one utterance. audio: as named, or as in the table.

    text: of all segments together; from a classifier the label that the most seconds have. segments: one for audio
    that was answered whole (`whole`), one a cut else. columns: `reference` where the table knows it, and the table's
    other columns. seconds: of audio. complete: False for a file that an interrupt left half heard.
    """

    id: str
    audio: str
    text: str
    segments: list[TranscriptSegment]
    whole: bool
    seconds: float
    columns: dict[str, Any] = field(default_factory=dict)
    complete: bool = True

    def to_json(self) -> dict[str, Any]:
        """A line of our JSONL: id, audio, hypothesis, the columns, and `segments` of audio that was cut.

        `words`, where they were asked for, are the segments', or the line's own where the audio was answered whole.
        """
        line: dict[str, Any] = {"id": self.id, "audio": self.audio, "hypothesis": self.text, **self.columns}
        if not self.whole:
            line["segments"] = [segment.to_json() for segment in self.segments]
        elif self.segments and self.segments[0].words is not None:
            line["words"] = _stated(self.segments[0].words)
        return line if self.complete else {**line, "complete": False}


def _stated(words: Iterable[WordTiming]) -> list[dict[str, Any]]:
    return [
        {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
        for w in words
    ]


@dataclass(frozen=True)
class UnreadableAudio:
    """An utterance whose audio could not be read. str() names it and says what to do."""

    id: str
    audio: str
    error: UserError

    def __str__(self) -> str:
        return str(self.error)


def join_texts(texts: Iterable[str]) -> str:
    """The texts one after the other: a space between, but none between characters of a script that has none."""
    said = ""
    for text in filter(None, texts):
        unspaced = said and _is_unspaced(said[-1]) and _is_unspaced(text[0])
        said += text if unspaced or not said else f" {text}"
    return said


def _is_unspaced(character: str) -> bool:
    """Chinese and Japanese characters and their punctuation; Korean, as wide as they are, has spaces."""
    return east_asian_width(character) in "WF" and not "\uac00" <= character <= "\ud7a3"


def find_majority_label(segments: Sequence[TranscriptSegment]) -> str:
    """The text (a label) that the most seconds have; "" where there is no segment."""
    seconds: dict[str, float] = {}
    for segment in segments:
        seconds[segment.text] = seconds.get(segment.text, 0.0) + segment.end - segment.start
    return max(seconds, key=lambda label: seconds[label], default="")
