"""Transcripts: the text of an utterance, its segments and word times, and its JSON line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unicodedata import east_asian_width

from speechxfer.decoding.forced_alignment import WordTiming
from speechxfer.errors import UserError
from speechxfer.scoring.labels import UNKNOWN_LABEL

NUM_TOP_LABELS = 3  # of a classifier, in the JSON output


class SegmentPrediction(NamedTuple):
    """The prediction for a segment.

    words: with times from the start of the segment, if requested. is_retried: decoded again (`SegmentRetry`).
    probabilities: of a classifier's labels.
    """

    text: str
    words: list[WordTiming] | None = None
    is_retried: bool = False
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True)
class TranscriptSegment:
    """A segment of a file and its text. start, end: seconds from the start of the file, as in `words`.

    words: None unless word times were requested. is_retried: the segment was decoded again, because its first text
    was far too short or too long for its speech (`SegmentRetry`). probabilities: of a classifier's labels.
    """

    start: float
    end: float
    text: str
    words: list[WordTiming] | None = None
    is_retried: bool = False
    probabilities: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        line: dict[str, Any] = {"start": self.start, "end": self.end, "text": self.text}
        line |= {"retried": True} if self.is_retried else {}
        line |= {} if self.probabilities is None else _probabilities_to_json(self.probabilities)
        return line if self.words is None else line | {"words": _words_to_json(self.words)}


@dataclass(frozen=True)
class Transcript:
    """The prediction for one utterance.

    Args:
        audio: the path as given, or as in the table.
        text: the joined text of all segments; for a classifier the label with the longest duration.
        segments: one segment for audio that was processed at once (`whole`), otherwise one per cut.
        seconds: duration of the audio.
        columns: `reference`, if the table has one, and the table's other columns.
        complete: False for a file that was interrupted before its end.
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
        """Return the line of the JSONL output: id, audio, hypothesis, the columns, and the segments of cut audio.

        Word times are in the segments, or in the line itself for audio that was processed at once. A classifier's line
        has `score`, the probability of the best label other than "unknown", and the `NUM_TOP_LABELS` best labels as
        `top`; of cut audio these are means over its segments by their durations.
        """
        line: dict[str, Any] = {"id": self.id, "audio": self.audio, "hypothesis": self.text}
        line |= _probabilities_to_json(average_probabilities(self.segments))
        line |= self.columns
        if not self.whole:
            line["segments"] = [segment.to_json() for segment in self.segments]
        elif self.segments and self.segments[0].words is not None:
            line["words"] = _words_to_json(self.segments[0].words)
        return line if self.complete else {**line, "complete": False}


def average_probabilities(segments: Sequence[TranscriptSegment]) -> dict[str, float]:
    """Average the probabilities of labels over segments, weighted by duration; empty for transcripts of text."""
    known = [(s.end - s.start, s.probabilities) for s in segments if s.probabilities]
    if len(known) == 1:
        return known[0][1]
    total = sum(seconds for seconds, _ in known)
    labels = known[0][1] if known else {}
    return {label: sum(seconds * row[label] for seconds, row in known) / total for label in labels}


def _probabilities_to_json(probabilities: Mapping[str, float]) -> dict[str, Any]:
    if not probabilities:
        return {}
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    top = [{"label": label, "score": round(score, 4)} for label, score in ranked[:NUM_TOP_LABELS]]
    best = next((score for label, score in ranked if label != UNKNOWN_LABEL), ranked[0][1])
    return {"score": round(best, 4), "top": top}


def _words_to_json(words: Iterable[WordTiming]) -> list[dict[str, Any]]:
    return [
        {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
        for w in words
    ]


@dataclass(frozen=True)
class UnreadableAudio:
    """An utterance whose audio cannot be read. `str()` is the complete error message."""

    id: str
    audio: str
    error: UserError

    def __str__(self) -> str:
        return str(self.error)


OnUnreadable = Callable[[UnreadableAudio], None]


def report_unreadable(unreadable: UnreadableAudio, on_bad: OnUnreadable | None) -> None:
    """Call `on_bad`; without a callback raise the error."""
    if on_bad is None:
        raise unreadable.error
    on_bad(unreadable)


def join_texts(texts: Iterable[str]) -> str:
    """Join texts with a space, except between characters of a script that is written without spaces."""
    joined = ""
    for text in filter(None, texts):
        unspaced = joined and _is_unspaced(joined[-1]) and _is_unspaced(text[0])
        joined += text if unspaced or not joined else f" {text}"
    return joined


def _is_unspaced(character: str) -> bool:
    """Return whether it is a Chinese or Japanese character or punctuation; Korean is as wide, but uses spaces."""
    return east_asian_width(character) in "WF" and not "\uac00" <= character <= "\ud7a3"


def find_majority_label(segments: Sequence[TranscriptSegment]) -> str:
    """Return the text (a label) with the longest total duration; "" without segments."""
    seconds: dict[str, float] = {}
    for segment in segments:
        seconds[segment.text] = seconds.get(segment.text, 0.0) + segment.end - segment.start
    return max(seconds, key=lambda label: seconds[label], default="")
