"""Miss rate and false alarms per hour on clips and streams, at one threshold or over all thresholds (DET curve)."""

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
_COLUMNS_FIX = "write a CSV with the columns stream,time,score"


@dataclass(frozen=True)
class ScoredRecording:
    """A detector's scores of one recording, and the reference.

    hours: of speech, without the silence between utterances. A recording with words and 0 hours (a positive clip) only
    counts for the miss rate; its other events do not enter the false-alarm rate.
    """

    name: str
    scores: Scores
    words: tuple[LabelledWord, ...] = ()
    hours: float = 0.0
    speaker: str = ""
    condition: str = ""


@dataclass(frozen=True)
class DetectionMetrics:
    """Counts and rates at one threshold.

    trigger: None for events of another engine. delays: in s. missed: names of recordings, one per missed word.
    false_alarm_events: (name of the recording, event). miss_interval: 95 % interval of the miss rate. over: units of
    that interval, recordings or speakers.
    """

    trigger: Trigger | None
    words: int
    misses: int
    false_alarms: int
    hours: float
    repeats: int
    delays: tuple[float, ...]
    missed: tuple[str, ...]
    false_alarm_events: tuple[tuple[str, Event], ...]
    miss_interval: tuple[float, float] | None
    over: str

    @property
    def miss_rate(self) -> float | None:
        return self.misses / self.words if self.words else None

    @property
    def false_alarms_per_hour(self) -> float | None:
        return self.false_alarms / self.hours if self.hours else None

    @property
    def false_alarm_interval(self) -> tuple[float, float] | None:
        """95 % interval of the false alarms per hour."""
        if not self.hours:
            return None
        low, high = poisson_interval(self.false_alarms)
        return low / self.hours, high / self.hours

    def to_json(self) -> dict[str, Any]:
        """Return the documented keys; rates are fractions, values that were not measured are null."""
        return {
            "positives": self.words,
            "misses": self.misses,
            "miss_rate": self.miss_rate,
            "false_alarms": self.false_alarms,
            "hours": self.hours,
            "false_alarms_per_hour": self.false_alarms_per_hour,
            "intervals": {
                "miss_rate": _to_list(self.miss_interval),
                "false_alarms_per_hour": _to_list(self.false_alarm_interval),
                "over": self.over,
            },
            "delay_ms": _summarize_delays(self.delays),
            "repeats": self.repeats,
            "threshold": None if self.trigger is None else self.trigger.threshold,
            "smoothing": None if self.trigger is None else self.trigger.smoothing,
            "refractory": None if self.trigger is None else self.trigger.refractory,
        }


@dataclass
class DetectionEvaluation:
    """Evaluation of scored recordings, of one detector or pooled over folds. tolerance: see `match_events`."""

    recordings: Sequence[ScoredRecording]
    tolerance: float = TOLERANCE_SECONDS
    _smoothed: dict[int, list[ScoredRecording]] = field(default_factory=dict, repr=False)

    def evaluate_at(self, trigger: Trigger) -> DetectionMetrics:
        """Return the metrics at one threshold."""
        events = [find_events(recording.scores, trigger) for recording in self.recordings]
        return compute_metrics(self.recordings, events, trigger, self.tolerance)

    def evaluate_by(self, trigger: Trigger, column: str) -> dict[str, DetectionMetrics]:
        """Return the metrics of each value of `speaker` or `condition`."""
        values = sorted({getattr(recording, column) for recording in self.recordings} - {""})
        metrics = {}
        for value in values:
            group = [recording for recording in self.recordings if getattr(recording, column) == value]
            metrics[value] = DetectionEvaluation(group, self.tolerance).evaluate_at(trigger)
        return metrics

    def find_threshold(self, max_alarms: int, trigger: Trigger) -> float:
        """Return the lowest threshold at which it and all higher ones give at most `max_alarms` false alarms.

        It is just above the score that causes one more; 0 if no score does.
        """
        streams = [recording for recording in self._smooth(trigger.smoothing) if recording.hours]
        unsmoothed = replace(trigger, smoothing=1)
        values = np.unique(np.concatenate([stream.scores.values for stream in streams] or [np.zeros(0)]))[::-1]
        for score in values:
            results = self._match(streams, replace(unsmoothed, threshold=float(score)))
            if sum(len(result.false_alarms) for result in results) > max_alarms:
                return float(np.nextafter(score, math.inf))
        return 0.0

    def make_det_curve(self, trigger: Trigger, points: int = NUM_CURVE_POINTS) -> list[dict[str, float | int | None]]:
        """Return the DET curve: misses and false alarms at up to `points` thresholds, from high to low."""
        recordings = self._smooth(trigger.smoothing)
        peaks = np.concatenate([_find_peaks(recording, trigger) for recording in recordings] or [np.zeros(0)])
        if not len(peaks):
            return []
        selected = np.linspace(0, len(peaks) - 1, min(points, len(peaks))).round().astype(int)
        hours = sum(recording.hours for recording in recordings)
        rows = []
        for threshold in np.unique(np.sort(peaks)[selected])[::-1]:
            results = self._match(recordings, replace(trigger, threshold=float(threshold), smoothing=1))
            words = sum(result.hits + result.misses for result in results)
            misses = sum(result.misses for result in results)
            alarms = sum(len(r.false_alarms) for r, h in zip(results, recordings, strict=True) if h.hours)
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

    def _match(self, recordings: Sequence[ScoredRecording], trigger: Trigger) -> list[MatchResult]:
        return [match_events(find_events(r.scores, trigger), r.words, self.tolerance) for r in recordings]

    def _smooth(self, smoothing: int) -> list[ScoredRecording]:
        if smoothing not in self._smoothed:
            self._smoothed[smoothing] = [
                replace(r, scores=replace(r.scores, values=smooth_scores(r.scores.values, smoothing)))
                for r in self.recordings
            ]
        return self._smoothed[smoothing]


def compute_metrics(
    recordings: Sequence[ScoredRecording],
    events: Sequence[Sequence[Event]],
    trigger: Trigger | None,
    tolerance: float = TOLERANCE_SECONDS,
) -> DetectionMetrics:
    """Return the metrics of each recording's events, which may be another engine's (`trigger`: None)."""
    results = [match_events(found, r.words, tolerance) for r, found in zip(recordings, events, strict=True)]
    streams = [(r, result) for r, result in zip(recordings, results, strict=True) if r.hours]
    words = sum(result.hits + result.misses for result in results)
    misses = sum(result.misses for result in results)
    interval, over = _compute_miss_interval(recordings, results, misses, words)
    return DetectionMetrics(
        trigger=trigger,
        words=words,
        misses=misses,
        false_alarms=sum(len(result.false_alarms) for _, result in streams),
        hours=sum(recording.hours for recording in recordings),
        repeats=sum(len(result.repeats) for result in results),
        delays=tuple(delay for result in results for delay in result.delays),
        missed=tuple(r.name for r, result in zip(recordings, results, strict=True) for _ in result.missed),
        false_alarm_events=tuple((r.name, event) for r, result in streams for event in result.false_alarms),
        miss_interval=interval,
        over=over,
    )


def read_detection_times(path: Path | str) -> dict[str, list[Event]]:
    """Read another engine's detections from a CSV with the columns stream, time (in s) and optionally score.

    Returns: name of the stream to events.
    Raises: UserError for a missing file or column, or a time that is not a number of seconds.
    """
    where = str(path)
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot be read ({error})", where=where) from None
    problems = Problems(f"{where}: invalid detections", fix=_COLUMNS_FIX)
    events: dict[str, list[Event]] = {}
    for line, row in enumerate(rows, 2):
        try:
            time, score = float(row["time"]), float(row.get("score") or 1.0)
            if not (math.isfinite(time) and math.isfinite(score) and time >= 0):
                raise ValueError
            events.setdefault(row["stream"], []).append(Event(time, score))
        except KeyError as error:
            raise UserError(f"no column {error}", where=where, fix=_COLUMNS_FIX) from None
        except (TypeError, ValueError):
            problems.add(f"line {line}: time '{row.get('time')}', score '{row.get('score')}'")
    problems.raise_if_any()
    return events


def _find_peaks(recording: ScoredRecording, trigger: Trigger) -> np.ndarray:
    """Return a clip's highest score, or a stream's highest score in each refractory time."""
    values = recording.scores.values
    if not len(values):
        return values
    if not recording.hours:
        return values.max(keepdims=True)
    step = max(1, round(max(trigger.refractory, 0.1) / recording.scores.step))
    return np.maximum.reduceat(values, np.arange(0, len(values), step))


def _compute_miss_interval(
    recordings: Sequence[ScoredRecording], results: Sequence[MatchResult], misses: int, words: int
) -> tuple[tuple[float, float] | None, str]:
    """Return the 95 % interval of the miss rate, and its units.

    It is a bootstrap over speakers if all are known and some but not all words were missed, else binomial.
    """
    if not words:
        return None, "recordings"
    with_words = [(r, result) for r, result in zip(recordings, results, strict=True) if result.hits + result.misses]
    speakers = [recording.speaker for recording, _ in with_words]
    if 0 < misses < words and all(speakers) and len(set(speakers)) > 1:
        counts = np.array([(r.misses, r.hits + r.misses) for _, r in with_words], dtype=np.int64)
        return bootstrap_rate(sum_by_unit(counts, number_values(speakers)[1])), "speakers"
    return binomial_interval(misses, words), "recordings"


def _summarize_delays(delays: Sequence[float]) -> dict[str, float] | None:
    if not delays:
        return None
    median, p95 = np.percentile(np.array(delays) * 1000, [50, 95])
    return {"median": round(float(median), 1), "p95": round(float(p95), 1)}


def _to_list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [float(interval[0]), float(interval[1])]
