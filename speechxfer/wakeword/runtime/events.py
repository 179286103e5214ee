"""The one definition of a detection: scores -> smoothing -> threshold -> refractory time -> events -> hits, alarms.

Training, calibration, the command line, the tests and the benchmarks all come here, and other engines' events do too.

- A score is smoothed by the mean over itself and the `smoothing - 1` scores before it (over fewer at the beginning).
- An event is a smoothed score at or above the threshold, at least `refractory` seconds after the event before. A score
  that stays up therefore fires again and again, as a device would.
- A word is hit by an event from its start to `tolerance` seconds after its end, both included. An event hits one word
  at most: as many words are hit as events and words can be paired.
- An event within a word's time that hits none (the word is hit already) is a repeat. Every other one is a false alarm.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

TOLERANCE_SECONDS = 1.0  # s after a word's end in which an event still belongs to it
_SLACK = 1e-9  # s, of times that are sums


@dataclass(frozen=True)
class Trigger:
    """How scores become events. threshold: of the smoothed score; smoothing: scores; refractory: seconds."""

    threshold: float
    smoothing: int = 1
    refractory: float = 2.0


@dataclass(frozen=True)
class Scores:
    """Scores of one stream. values: (steps,) float; a value is known `first + index * step` seconds into the stream."""

    values: np.ndarray
    step: float
    first: float = 0.0

    def times(self) -> np.ndarray:
        """(steps,) seconds at which each score is known."""
        return self.first + self.step * np.arange(len(self.values))


@dataclass(frozen=True)
class Event:
    """A detection. time: seconds into the stream; score: the smoothed score that fired."""

    time: float
    score: float = 1.0


@dataclass(frozen=True)
class LabelledWord:
    """A labelled word, in seconds of its stream. `end` is where it ends for the delay, `until` where a label reaches.

    A clip known only to hold the word somewhere is labelled as a whole, and may know better where the word ends.
    """

    start: float
    until: float
    end: float | None = None


@dataclass(frozen=True)
class MatchResult:
    """One stream's events against its words. delays: seconds from a hit word's end to its event, where it is known."""

    hits: int
    misses: int
    false_alarms: tuple[Event, ...]
    repeats: tuple[Event, ...] = ()
    delays: tuple[float, ...] = ()
    missed: tuple[LabelledWord, ...] = field(default=())


class EventFinder:
    """`Trigger` over scores that come in pieces; pieces of any size give the events of the whole."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger
        self._before = np.zeros(0)  # the last smoothing - 1 scores
        self._last = -np.inf  # time of the last event

    def push(self, scores: Scores) -> list[Event]:
        """The events among the next scores of the stream; `scores.first` goes on where the last piece ended."""
        smoothed, self._before = _smooth(np.asarray(scores.values, np.float64), self._before, self.trigger.smoothing)
        above = np.flatnonzero(smoothed >= self.trigger.threshold)
        found = []
        place = 0
        while place < len(above):
            time = scores.first + scores.step * above[place]
            if time - self._last >= self.trigger.refractory - _SLACK:
                found.append(Event(float(time), float(smoothed[above[place]])))
                self._last = time
            until = (self._last + self.trigger.refractory - scores.first - _SLACK) / scores.step
            place = max(place + 1, int(np.searchsorted(above, until)))
        return found


def find_events(scores: Scores, trigger: Trigger) -> list[Event]:
    """The events of one stream, in order of time."""
    return EventFinder(trigger).push(scores)


def smooth_scores(values: np.ndarray, smoothing: int) -> np.ndarray:
    """(steps,) trailing means over `smoothing` scores, over fewer at the beginning."""
    return _smooth(np.asarray(values, np.float64), np.zeros(0), smoothing)[0]


def _smooth(values: np.ndarray, before: np.ndarray, smoothing: int) -> tuple[np.ndarray, np.ndarray]:
    """Trailing means of `values`, and the scores that the next piece needs before its own."""
    if smoothing <= 1 or not len(values):
        return values, before
    joined = np.concatenate([before, values])
    padded = np.concatenate([np.zeros(smoothing - 1), joined])
    windows = np.lib.stride_tricks.sliding_window_view(padded, smoothing).sum(axis=1)
    counts = np.minimum(np.arange(1, len(joined) + 1), smoothing)
    return (windows / counts)[len(before) :], joined[max(0, len(joined) - smoothing + 1) :]


def match_events(
    events: Iterable[Event], words: Sequence[LabelledWord], tolerance: float = TOLERANCE_SECONDS
) -> MatchResult:
    """Pair the events of one stream with its words; as many words are hit as can be."""
    ordered = sorted(words, key=lambda word: word.start)
    open_words: list[tuple[float, int]] = []  # (last moment, place in `ordered`) of those begun and not hit
    reach = -np.inf  # the last moment of any word begun so far
    hits, alarms, repeats, delays = set(), [], [], []
    following = 0
    for event in sorted(events, key=lambda event: event.time):
        while following < len(ordered) and ordered[following].start <= event.time + _SLACK:
            last = ordered[following].until + tolerance
            heapq.heappush(open_words, (last, following))
            reach = max(reach, last)
            following += 1
        while open_words and open_words[0][0] < event.time - _SLACK:
            heapq.heappop(open_words)
        if open_words:  # the word whose time ends first: no pairing hits more words
            _, place = heapq.heappop(open_words)
            hits.add(place)
            if (end := ordered[place].end) is not None:
                delays.append(event.time - end)
        elif event.time <= reach + _SLACK:
            repeats.append(event)
        else:
            alarms.append(event)
    missed = tuple(word for place, word in enumerate(ordered) if place not in hits)
    return MatchResult(len(hits), len(missed), tuple(alarms), tuple(repeats), tuple(delays), missed)
