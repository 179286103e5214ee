"""The chosen trigger and the claimed rate, for few and for many hours."""

from __future__ import annotations

import numpy as np
import pytest

from speechxfer.wakeword.evaluation.metrics import DetectionEvaluation, ScoredRecording
from speechxfer.wakeword.runtime.events import LabelledWord, Scores, Trigger
from speechxfer.wakeword.training.calibration import calibrate


def clip(peak: float) -> ScoredRecording:
    values = np.full(200, 0.01)
    values[100:112] = peak
    return ScoredRecording("clip", Scores(values, 0.02), (LabelledWord(0.0, 4.0, end=2.0),))


def stream(peaks: list[float], hours: float) -> ScoredRecording:
    values = np.full(200 * max(1, len(peaks)), 0.01)
    for place, peak in enumerate(peaks):
        values[200 * place + 100 : 200 * place + 112] = peak
    return ScoredRecording("stream", Scores(values, 0.02), hours=hours)


CLIPS = [clip(p) for p in (0.9, 0.95, 0.97, 0.99, 0.6)]


def test_enough_hours_support_the_target() -> None:
    held = [stream([0.95, 0.5, 0.2], 50.0)]  # 1 alarm in 50 h: bound 0.095
    found = calibrate(CLIPS, held, [], 0.1, "real")
    assert found.supported and found.false_alarms == 1 and found.bound == pytest.approx(4.744 / 50, abs=1e-3)
    assert found.misses == 0  # the threshold lies just above 0.5
    assert "at most 0.095/h (95 % bound), within the target of 0.1/h" in found.describe()
    assert DetectionEvaluation(held).evaluate_at(found.trigger).false_alarms == 1


def test_too_few_hours_give_a_bound_and_a_silent_threshold() -> None:
    found = calibrate(CLIPS, [stream([0.4], 3.0)], [stream([0.5], 9.0)], 0.1, "real")
    assert not found.supported and found.false_alarms == 0
    assert found.bound == pytest.approx(0.9986, abs=1e-3)
    assert found.hours_needed == pytest.approx(29.96, abs=0.01)
    assert found.trigger.threshold > 0.5  # training's own negatives are silent too, with a margin
    assert "test on 30 h of speech" in found.describe() and "up to 1/h" in found.describe()


def test_without_streams_nothing_is_claimed() -> None:
    found = calibrate(CLIPS, [], [], 0.1, "real")
    assert found.bound is None and not found.supported and found.hours == 0
    assert "the false-alarm rate is unknown" in found.describe()
    assert 0 < found.trigger.threshold < 1


def test_without_clips_the_threshold_stays_above_the_negatives() -> None:
    found = calibrate([], [stream([0.3], 1.0)], [], 0.1, "real")
    assert found.trigger.threshold > 0.3 and found.positives == 0


def test_smoothing_is_chosen_where_it_parts_best() -> None:
    """Single high scores in the stream, long ones in the clips: no smoothing would miss, smoothing parts them."""
    values = np.full(2000, 0.01)
    values[[300, 900, 1500]] = 0.98
    found = calibrate(CLIPS, [ScoredRecording("s", Scores(values, 0.02), hours=1.0)], [], 0.1, "real")
    assert found.trigger.smoothing > 1 and found.misses == 0
    plain = DetectionEvaluation([*CLIPS]).evaluate_at(Trigger(0.981, 1, 1.0))
    assert plain.misses == 4


def test_the_manifest_holds_trigger_and_evidence() -> None:
    values = calibrate(CLIPS, [stream([0.4], 3.0)], [], 0.1, "synthetic").to_json()
    assert {"threshold", "smoothing", "refractory", "hours", "alarms", "bound", "kind", "target"} <= set(values)
