"""Calibration: choose threshold, smoothing and refractory time on held-out clips and streams.

A false-alarm rate is claimed only if its one-sided 95 % upper bound (Poisson) is below the target. The bound is valid
although the threshold is chosen on the same hours: the rate above the k+1 highest of independent peaks follows
Gamma(k + 1) over the hours, which gives the same bound as k alarms at a threshold fixed in advance. If the streams are
too short for the target, the threshold is set a margin above the highest score on any negative audio (training,
held-out, clean, noisy or with babble).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechxfer.scoring.statistics import compute_hours_needed, poisson_upper
from speechxfer.wakeword.evaluation.metrics import DetectionEvaluation, ScoredRecording
from speechxfer.wakeword.runtime.events import Trigger, smooth_scores

SMOOTHING_GRID = (1, 3, 5, 8, 12)  # scores: 20 to 240 ms
REFRACTORY_GRID = (1.0, 2.0)  # s
THRESHOLD_MARGIN = 0.15  # share of the distance, in logits, from the highest negative to the median positive


@dataclass(frozen=True)
class Calibration:
    """A calibrated trigger and the evidence for it.

    target: false alarms per hour. kind: of the held-out streams, real or synthetic. hours, false_alarms: on them.
    bound: 95 % upper bound of the false alarms per hour (None without streams). supported: whether `bound` is within
    the target. hours_needed: hours without a false alarm that would support it. positives, misses: on held-out clips.
    """

    trigger: Trigger
    target: float
    kind: str
    hours: float
    false_alarms: int
    bound: float | None
    supported: bool
    hours_needed: float
    positives: int
    misses: int

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's entry: the trigger's parameters and the evidence."""
        return {
            "threshold": self.trigger.threshold,
            "smoothing": self.trigger.smoothing,
            "refractory": self.trigger.refractory,
            "target": self.target,
            "kind": self.kind,
            "hours": self.hours,
            "alarms": self.false_alarms,
            "bound": self.bound,
            "supported": self.supported,
            "hours_needed": self.hours_needed,
            "positives": self.positives,
            "misses": self.misses,
        }

    def describe(self) -> str:
        """Return a sentence or two on what the evidence supports."""
        needed = f"To confirm {self.target:g}/h, test on {self.hours_needed:.0f} h of speech."
        if self.bound is None:
            return f"No speech was held out, so the false-alarm rate is unknown. {needed}"
        alarms = "1 false alarm" if self.false_alarms == 1 else f"{self.false_alarms} false alarms"
        counted = f"{alarms} in {self.hours:.2f} h of held-out {self.kind} speech"
        if self.supported:
            return f"{counted}: at most {self.bound:.2g}/h (95 % bound), within the target of {self.target:g}/h."
        return f"{counted}. That is too little audio: the true rate could be up to {self.bound:.2g}/h. {needed}"


def calibrate(
    clips: Sequence[ScoredRecording],
    held_out: Sequence[ScoredRecording],
    negatives: Sequence[ScoredRecording],
    target: float,
    kind: str,
) -> Calibration:
    """Choose the trigger with the fewest misses among those that meet the target.

    Ties prefer the larger distance between positives and negatives. clips, held_out: held-out clips of the word and
    streams without it. negatives: further audio, on which a trigger that the held-out hours cannot support must not
    fire. target: false alarms per hour. kind: of the streams, real or synthetic.
    """
    hours = sum(recording.hours for recording in held_out)
    max_alarms = _max_false_alarms(hours, target)
    evaluation = DetectionEvaluation([*clips, *held_out])
    best: tuple[tuple[float, ...], Trigger] | None = None
    for smoothing in SMOOTHING_GRID:
        highest = max((_highest_score(recording, smoothing) for recording in (*held_out, *negatives)), default=0.0)
        median = float(np.median([_highest_score(clip, smoothing) for clip in clips])) if clips else 1.0
        distance = _logit(median) - _logit(highest)
        for refractory in REFRACTORY_GRID:
            if max_alarms is None:
                threshold = choose_fallback_threshold(highest, median)
            else:
                threshold = max(evaluation.find_threshold(max_alarms, Trigger(0.0, smoothing, refractory)), 0.01)
            trigger = Trigger(threshold, smoothing, refractory)
            metrics = evaluation.evaluate_at(trigger)
            rank = (metrics.misses, -distance, metrics.repeats, refractory)
            if best is None or rank < best[0]:
                best = rank, trigger
    assert best is not None
    metrics = evaluation.evaluate_at(best[1])
    bound = poisson_upper(metrics.false_alarms) / hours if hours else None
    return Calibration(
        trigger=best[1],
        target=target,
        kind=kind,
        hours=hours,
        false_alarms=metrics.false_alarms,
        bound=bound,
        supported=bound is not None and bound <= target,
        hours_needed=compute_hours_needed(target),
        positives=metrics.words,
        misses=metrics.misses,
    )


def choose_fallback_threshold(highest: float, median: float) -> float:
    """Return a threshold above `highest` by `THRESHOLD_MARGIN` of the distance to `median`, or of 1 if that is larger.

    highest: smoothed score of any negative. median: highest smoothed score of the median positive. The distance is in
    logits.
    """
    low, high = _logit(highest), _logit(median)
    return _sigmoid(low + THRESHOLD_MARGIN * max(high - low, 1.0))


def _max_false_alarms(hours: float, target: float) -> int | None:
    """Return the largest number of alarms in `hours` whose bound is within the target; None if none is."""
    if not hours or poisson_upper(0) / hours > target:
        return None
    alarms = 0
    while poisson_upper(alarms + 1) / hours <= target:
        alarms += 1
    return alarms


def _highest_score(recording: ScoredRecording, smoothing: int) -> float:
    return float(smooth_scores(recording.scores.values, smoothing).max(initial=0.0))


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(clipped / (1 - clipped))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
