"""Threshold, smoothing and refractory time together, from streams that training never heard, with what they prove.

A rate of false alarms is claimed when its 95 % upper bound (Poisson) is below it. The bound holds although the
threshold is chosen on the same hours: the rate above the k+1 highest of independent peaks is Gamma(k + 1) distributed
over the hours, which gives the bound of k alarms at a threshold fixed before. Where the streams are too short for the
target, the threshold stands where nothing that was heard fires, in training or out of it, clean or among noise and
voices, and some way above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from speechxfer.scoring.statistics import compute_hours_needed, poisson_upper
from speechxfer.wakeword.evaluation.metrics import DetectionEvaluation, ScoredRecording
from speechxfer.wakeword.runtime.events import Trigger, smooth_scores

SMOOTHING_GRID = (1, 3, 5, 8, 12)  # scores: 20 to 240 ms
REFRACTORY_GRID = (1.0, 2.0)  # s
THRESHOLD_MARGIN = 0.15  # of the way, in logits, from the loudest negative to the median positive


@dataclass(frozen=True)
class Calibration:
    """The trigger and its evidence.

    kind: of the held-out streams, real or synthetic. hours, alarms: what was heard there. bound: the false alarms an
    hour that are refuted at 95 % by it, None without any stream. supported: whether `bound` is within the target.
    hours_needed: of stream without an alarm to support the target. misses, positives: of held-out clips.
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
        """As the manifest holds it: the trigger's three values beside the evidence."""
        values = asdict(self)
        values["alarms"] = values.pop("false_alarms")
        return {**values.pop("trigger"), **values}

    def describe(self) -> str:
        """What the evidence supports, in words."""
        needs = f"{self.hours_needed:.0f} h without an alarm"
        if self.bound is None:
            return f"no stream was held out, so no rate is claimed; {self.target:g}/h needs {needs}"
        alarms = "1 false alarm" if self.false_alarms == 1 else f"{self.false_alarms} false alarms"
        heard = f"{alarms} in {self.hours:.2f} h of held-out {self.kind} speech: at most {self.bound:.2g}/h (95 %)"
        if self.supported:
            return f"{heard}; the target of {self.target:g}/h is supported"
        return f"{heard}; {self.target:g}/h needs {needs}"


def calibrate(
    clips: Sequence[ScoredRecording],
    held_out: Sequence[ScoredRecording],
    silent: Sequence[ScoredRecording],
    target: float,
    kind: str,
) -> Calibration:
    """Choose on held-out clips and streams; `silent` are others, which no threshold without evidence may fire on.

    Of all settings that keep the target (or, without the hours for it, stay silent) the one with the fewest misses is
    taken, among equals the one that parts positives from negatives the farthest.
    """
    hours = sum(h.hours for h in held_out)
    allowed = _max_false_alarms(hours, target)
    evaluation = DetectionEvaluation([*clips, *held_out])
    best: tuple[tuple[float, ...], Trigger] | None = None
    for smoothing in SMOOTHING_GRID:
        loudest = max((_highest(h, smoothing) for h in (*held_out, *silent)), default=0.0)
        middle = float(np.median([_highest(h, smoothing) for h in clips])) if clips else 1.0
        low, high = _logit(loudest), _logit(middle)
        for refractory in REFRACTORY_GRID:
            trigger = Trigger(0.0, smoothing, refractory)
            if allowed is None:
                threshold = choose_fallback_threshold(loudest, middle)
            else:
                threshold = max(evaluation.find_threshold(allowed, trigger), 0.01)
            trigger = Trigger(threshold, smoothing, refractory)
            found = evaluation.evaluate_at(trigger)
            rank = (found.misses, -(high - low), found.repeats, refractory)
            if best is None or rank < best[0]:
                best = rank, trigger
    assert best is not None
    figures = evaluation.evaluate_at(best[1])
    bound = poisson_upper(figures.false_alarms) / hours if hours else None
    return Calibration(
        trigger=best[1],
        target=target,
        kind=kind,
        hours=hours,
        false_alarms=figures.false_alarms,
        bound=bound,
        supported=bound is not None and bound <= target,
        hours_needed=compute_hours_needed(target),
        positives=figures.words,
        misses=figures.misses,
    )


def choose_fallback_threshold(loudest: float, middle: float) -> float:
    """The threshold without evidence: above the loudest negative, by `THRESHOLD_MARGIN` of the way to the middle positive.

    Both are smoothed scores, and the way is in logits; where it is shorter than 1, by `THRESHOLD_MARGIN` of 1.
    """
    low, high = _logit(loudest), _logit(middle)
    return _probability(low + THRESHOLD_MARGIN * max(high - low, 1.0))


def _max_false_alarms(hours: float, target: float) -> int | None:
    """The most alarms in `hours` that still refute a rate above `target`; None where not even silence does."""
    if not hours or poisson_upper(0) / hours > target:
        return None
    alarms = 0
    while poisson_upper(alarms + 1) / hours <= target:
        alarms += 1
    return alarms


def _highest(heard: ScoredRecording, smoothing: int) -> float:
    return float(smooth_scores(heard.scores.values, smoothing).max(initial=0.0))


def _logit(probability: float) -> float:
    kept = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(kept / (1 - kept))


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
