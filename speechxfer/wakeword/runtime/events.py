"""Definition of a detection: scores -> smoothing -> threshold -> refractory time -> events -> hits and false alarms.

Training, calibration, the command line and the benchmarks share this code; events of other engines are matched by the
same rules.

- A score is smoothed by the mean over itself and the `smoothing - 1` preceding scores (fewer at the start).
- An event is a smoothed score at or above the threshold, at least `refractory` seconds after the previous event.
  A score that stays high therefore fires repeatedly, as on a device.
- An event hits a word from the word's start to `tolerance` seconds after its end, both inclusive. An event hits at most
  one word; events and words are paired so that the number of words hit is maximal.
- An event within a word's time that hits no word (because the word is already hit) is a repeat. Every other event is
  a false alarm.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

TOLERANCE_SECONDS = 1.0  # s after a word's end in which an event still hits it
_EPSILON = 1e-9  # s, rounding error of times that are sums


@dataclass(frozen=True)
class Trigger:
    """Parameters that turn scores into events.

    threshold: minimum smoothed score. smoothing: number of scores averaged. refractory: seconds between events.
    """

    threshold: float
    smoothing: int = 1
    refractory: float = 2.0


@dataclass(frozen=True)
class Scores:
    """Scores of one stream. values: (steps,) float; score `i` is available `first + i * step` s into the stream."""

    values: np.ndarray
    step: float
    first: float = 0.0

    def times(self) -> np.ndarray:
        """Return (steps,) seconds at which each score is available."""
        return self.first + self.step * np.arange(len(self.values))


@dataclass(frozen=True)
class Event:
    """A detection. time: seconds into the stream. score: the smoothed score."""

    time: float
    score: float = 1.0


@dataclass(frozen=True)
class LabelledWord:
    """A reference word, in seconds of its stream.

    until: end of the label, used for matching. end: end of the word itself, used for the delay (None: unknown). The two
    differ for a clip that is labelled as a whole.
    """

    start: float
    until: float
    end: float | None = None


@dataclass(frozen=True)
class MatchResult:
    """Events of one stream matched with its words. delays: seconds from a hit word's end to its event, where known."""

    hits: int
    misses: int
    false_alarms: tuple[Event, ...]
    repeats: tuple[Event, ...] = ()
    delays: tuple[float, ...] = ()
    missed: tuple[LabelledWord, ...] = field(default=())


class EventFinder:
    """Streaming `find_events`: blocks of any size give the same events as the whole stream."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger
        self._before = np.zeros(0)  # the last smoothing - 1 scores
        self._last = -np.inf  # time of the last event

    def push(self, scores: Scores) -> list[Event]:
        """Return the events in the next scores of the stream; `scores.first` continues the previous block's times."""
        smoothed, self._before = _smooth_block(
            np.asarray(scores.values, np.float64), self._before, self.trigger.smoothing
        )
        above = np.flatnonzero(smoothed >= self.trigger.threshold)
        events = []
        index = 0
        while index < len(above):
            time = scores.first + scores.step * above[index]
            if time - self._last >= self.trigger.refractory - _EPSILON:
                events.append(Event(float(time), float(smoothed[above[index]])))
                self._last = time
            until = (self._last + self.trigger.refractory - scores.first - _EPSILON) / scores.step
            index = max(index + 1, int(np.searchsorted(above, until)))
        return events


def find_events(scores: Scores, trigger: Trigger) -> list[Event]:
    """Return the events of one stream in order of time."""
    return EventFinder(trigger).push(scores)


def smooth_scores(values: np.ndarray, smoothing: int) -> np.ndarray:
    """Return (steps,) trailing means over `smoothing` scores (fewer at the start)."""
    return _smooth_block(np.asarray(values, np.float64), np.zeros(0), smoothing)[0]


def match_events(
    events: Iterable[Event], words: Sequence[LabelledWord], tolerance: float = TOLERANCE_SECONDS
) -> MatchResult:
    """Pair the events of one stream with its words so that as many words as possible are hit."""
    ordered = sorted(words, key=lambda word: word.start)
    open_words: list[tuple[float, int]] = []  # heap of (latest matching time, index) of words started and not yet hit
    latest = -np.inf  # latest matching time of any word started so far
    hits, false_alarms, repeats, delays = set(), [], [], []
    next_word = 0
    for event in sorted(events, key=lambda event: event.time):
        while next_word < len(ordered) and ordered[next_word].start <= event.time + _EPSILON:
            deadline = ordered[next_word].until + tolerance
            heapq.heappush(open_words, (deadline, next_word))
            latest = max(latest, deadline)
            next_word += 1
        while open_words and open_words[0][0] < event.time - _EPSILON:
            heapq.heappop(open_words)
        if open_words:  # the word with the earliest deadline: no other pairing hits more words
            _, index = heapq.heappop(open_words)
            hits.add(index)
            if (end := ordered[index].end) is not None:
                delays.append(event.time - end)
        elif event.time <= latest + _EPSILON:
            repeats.append(event)
        else:
            false_alarms.append(event)
    missed = tuple(word for index, word in enumerate(ordered) if index not in hits)
    return MatchResult(len(hits), len(missed), tuple(false_alarms), tuple(repeats), tuple(delays), missed)


def _smooth_block(values: np.ndarray, before: np.ndarray, smoothing: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the trailing means of `values`, and the scores to pass as `before` with the next block."""
    if smoothing <= 1 or not len(values):
        return values, before
    joined = np.concatenate([before, values])
    padded = np.concatenate([np.zeros(smoothing - 1), joined])
    windows = np.lib.stride_tricks.sliding_window_view(padded, smoothing).sum(axis=1)
    counts = np.minimum(np.arange(1, len(joined) + 1), smoothing)
    return (windows / counts)[len(before) :], joined[max(0, len(joined) - smoothing + 1) :]
