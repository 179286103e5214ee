"""Misses against false alarms an hour: over clips and streams, at one threshold and at every threshold (DET curve)."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.errors import Problems, UserError
from speechxfer.scoring.statistics import (
    binomial_interval,
    bootstrap_rate,
    number_values,
    poisson_interval,
    sum_by_unit,
)
from speechxfer.wakeword.runtime.events import (
    TOLERANCE_SECONDS,
    Event,
    LabelledWord,
    MatchResult,
    Scores,
    Trigger,
    find_events,
    match_events,
    smooth_scores,
)

NUM_CURVE_POINTS = 200
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class ScoredRecording:
    """What a detector made of one recording, and what was in it.

    hours: of speech; silence put between utterances does not count. A recording with words and 0 hours (a positive
    clip) tells of misses only: events beside its words are kept, and enter no rate.
    """

    name: str
    scores: Scores
    words: tuple[LabelledWord, ...] = ()
    hours: float = 0.0
    speaker: str = ""
    condition: str = ""


@dataclass(frozen=True)
class DetectionMetrics:
    """Counts at one threshold, and what follows from them. trigger: None where another engine made the events."""

    trigger: Trigger | None
    words: int
    misses: int
    false_alarms: int
    hours: float
    repeats: int
    delays: tuple[float, ...]
    missed: tuple[str, ...]  # names of recordings
    false_alarm_events: tuple[tuple[str, Event], ...]  # false alarms, by recording
    miss_interval: tuple[float, float] | None
    over: str  # what the interval of misses is over: recordings or speakers

    @property
    def miss_rate(self) -> float | None:
        return self.misses / self.words if self.words else None

    @property
    def false_alarms_per_hour(self) -> float | None:
        """False alarms an hour."""
        return self.false_alarms / self.hours if self.hours else None

    @property
    def false_alarm_interval(self) -> tuple[float, float] | None:
        """Of false alarms an hour, 95 %."""
        if not self.hours:
            return None
        low, high = poisson_interval(self.false_alarms)
        return low / self.hours, high / self.hours

    def to_json(self) -> dict[str, Any]:
        """The contract's keys; rates are fractions, what was not measured is null."""
        return {
            "positives": self.words,
            "misses": self.misses,
            "miss_rate": self.miss_rate,
            "false_alarms": self.false_alarms,
            "hours": self.hours,
            "false_alarms_per_hour": self.false_alarms_per_hour,
            "intervals": {
                "miss_rate": _listed(self.miss_interval),
                "false_alarms_per_hour": _listed(self.false_alarm_interval),
                "over": self.over,
            },
            "delay_ms": _delay(self.delays),
            "repeats": self.repeats,
            "threshold": None if self.trigger is None else self.trigger.threshold,
            "smoothing": None if self.trigger is None else self.trigger.smoothing,
            "refractory": None if self.trigger is None else self.trigger.refractory,
        }


@dataclass
class DetectionEvaluation:
    """Recordings heard by one detector, or by one detector a fold, pooled."""

    recordings: Sequence[ScoredRecording]
    tolerance: float = TOLERANCE_SECONDS
    _smoothed: dict[int, list[ScoredRecording]] = field(default_factory=dict, repr=False)

    def evaluate_at(self, trigger: Trigger) -> DetectionMetrics:
        """Everything at one threshold."""
        return compute_metrics(
            self.recordings, [find_events(h.scores, trigger) for h in self.recordings], trigger, self.tolerance
        )

    def evaluate_by(self, trigger: Trigger, column: str) -> dict[str, DetectionMetrics]:
        """`evaluate_at`, for every value of `speaker` or `condition` that a recording has."""
        values = sorted({getattr(h, column) for h in self.recordings} - {""})
        parts = {value: [h for h in self.recordings if getattr(h, column) == value] for value in values}
        return {value: DetectionEvaluation(part, self.tolerance).evaluate_at(trigger) for value, part in parts.items()}

    def find_threshold(self, alarms: int, trigger: Trigger) -> float:
        """The lowest threshold at which the streams have at most `alarms` false alarms, and no lower one has more.

        Just above the score that fires once too often; 0 where no score does.
        """
        streams = [h for h in self._smooth(trigger.smoothing) if h.hours]
        plain = replace(trigger, smoothing=1)
        values = np.unique(np.concatenate([h.scores.values for h in streams] or [np.zeros(0)]))[::-1]
        for score in values:
            at = replace(plain, threshold=float(score))
            count = sum(
                len(match_events(find_events(h.scores, at), h.words, self.tolerance).false_alarms) for h in streams
            )
            if count > alarms:
                return float(np.nextafter(score, math.inf))
        return 0.0

    def make_det_curve(self, trigger: Trigger, points: int = NUM_CURVE_POINTS) -> list[dict[str, float | int | None]]:
        """The DET curve: misses and false alarms at thresholds over the scores that matter, from high to low."""
        heard = self._smooth(trigger.smoothing)
        peaks = np.concatenate([_peaks(h, trigger) for h in heard] or [np.zeros(0)])
        if not len(peaks):
            return []
        spread = np.linspace(0, len(peaks) - 1, min(points, len(peaks))).round().astype(int)
        rows = []
        for threshold in np.unique(np.sort(peaks)[spread])[::-1]:
            at = replace(trigger, threshold=float(threshold), smoothing=1)
            found = [match_events(find_events(h.scores, at), h.words, self.tolerance) for h in heard]
            words = sum(o.hits + o.misses for o in found)
            misses = sum(o.misses for o in found)
            hours = sum(h.hours for h in heard)
            alarms = sum(len(o.false_alarms) for o, h in zip(found, heard, strict=True) if h.hours)
            rows.append(
                {
                    "threshold": float(threshold),
                    "misses": misses,
                    "miss_rate": misses / words if words else None,
                    "false_alarms": alarms,
                    "false_alarms_per_hour": alarms / hours if hours else None,
                }
            )
        return rows

    def _smooth(self, smoothing: int) -> list[ScoredRecording]:
        if smoothing not in self._smoothed:
            self._smoothed[smoothing] = [
                replace(h, scores=replace(h.scores, values=smooth_scores(h.scores.values, smoothing)))
                for h in self.recordings
            ]
        return self._smoothed[smoothing]


def compute_metrics(
    recordings: Sequence[ScoredRecording],
    events: Sequence[Sequence[Event]],
    trigger: Trigger | None,
    tolerance: float = TOLERANCE_SECONDS,
) -> DetectionMetrics:
    """Count events, of our detector or of another engine, against what the recordings hold."""
    outcomes = [match_events(found, h.words, tolerance) for h, found in zip(recordings, events, strict=True)]
    words = sum(o.hits + o.misses for o in outcomes)
    misses = sum(o.misses for o in outcomes)
    interval, over = _miss_interval(recordings, outcomes, misses, words)
    pairs = list(zip(recordings, outcomes, strict=True))
    return DetectionMetrics(
        trigger=trigger,
        words=words,
        misses=misses,
        false_alarms=sum(len(o.false_alarms) for h, o in pairs if h.hours),
        hours=sum(h.hours for h in recordings),
        repeats=sum(len(o.repeats) for o in outcomes),
        delays=tuple(delay for o in outcomes for delay in o.delays),
        missed=tuple(h.name for h, o in pairs for _ in o.missed),
        false_alarm_events=tuple((h.name, event) for h, o in pairs if h.hours for event in o.false_alarms),
        miss_interval=interval,
        over=over,
    )


def read_detection_times(path: Path | str) -> dict[str, list[Event]]:
    """Another engine's detections: a CSV of `held_out_stream`, `time` (seconds) and, where known, `score`: stream to events.

    Raises UserError: not there, a column missing, a time that is no number of seconds.
    """
    where = str(path)
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot be read ({error})", where=where) from None
    problems = Problems(
        f"{where}: detections that cannot be used", fix="write a CSV with the columns stream,time,score"
    )
    found: dict[str, list[Event]] = {}
    for line, row in enumerate(rows, 2):
        try:
            time, score = float(row["time"]), float(row.get("score") or 1.0)
            if not (math.isfinite(time) and math.isfinite(score) and time >= 0):
                raise ValueError
            found.setdefault(row["stream"], []).append(Event(time, score))
        except KeyError as error:
            raise UserError(f"has no column {error}", where=where, fix="write the columns stream,time,score") from None
        except (TypeError, ValueError):
            problems.add(f"line {line}: time '{row.get('time')}', score '{row.get('score')}'")
    problems.raise_if_any()
    return found


def _peaks(heard: ScoredRecording, trigger: Trigger) -> np.ndarray:
    """Scores at which something changes: a clip's highest; of a stream the highest in each refractory time."""
    values = heard.scores.values
    if not len(values):
        return values
    if not heard.hours:
        return values.max(keepdims=True)
    step = max(1, round(max(trigger.refractory, 0.1) / heard.scores.step))
    return np.maximum.reduceat(values, np.arange(0, len(values), step))


def _miss_interval(
    recordings: Sequence[ScoredRecording], outcomes: Sequence[MatchResult], misses: int, words: int
) -> tuple[tuple[float, float] | None, str]:
    """95 %: over speakers by bootstrap where all are known and some but not all words were missed, else binomial."""
    if not words:
        return None, "recordings"
    with_words = [(h, o) for h, o in zip(recordings, outcomes, strict=True) if o.hits + o.misses]
    speakers = [h.speaker for h, _ in with_words]
    if 0 < misses < words and all(speakers) and len(set(speakers)) > 1:
        counts = np.array([(o.misses, o.hits + o.misses) for _, o in with_words], dtype=np.int64)
        return bootstrap_rate(sum_by_unit(counts, number_values(speakers)[1])), "speakers"
    return binomial_interval(misses, words), "recordings"


def _delay(delays: Sequence[float]) -> dict[str, float] | None:
    if not delays:
        return None
    median, late = np.percentile(np.array(delays) * 1000, [50, 95])
    return {"median": round(float(median), 1), "p95": round(float(late), 1)}


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [float(interval[0]), float(interval[1])]
