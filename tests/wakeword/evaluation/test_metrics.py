"""Rates, intervals and curves over clips and streams, against counts made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from speechxfer.errors import UserError
from speechxfer.wakeword.evaluation.metrics import (
    DetectionEvaluation,
    ScoredRecording,
    compute_metrics,
    read_detection_times,
)
from speechxfer.wakeword.runtime.events import Event, LabelledWord, Scores, Trigger

TRIGGER = Trigger(0.5, refractory=1.0)


def clip(name: str, peak: float, at: int = 20, speaker: str = "") -> ScoredRecording:
    """4 s of a score every 0.1 s; the word is somewhere in 1 s to 3 s and ends at 1.8 s."""
    values = np.zeros(40)
    values[at] = peak
    return ScoredRecording(name, Scores(values, 0.1), (LabelledWord(1.0, 3.0, end=1.8),), speaker=speaker)


def stream(name: str, peaks: dict[int, float], hours: float = 0.5, steps: int = 1000) -> ScoredRecording:
    values = np.zeros(steps)
    for place, score in peaks.items():
        values[place] = score
    return ScoredRecording(name, Scores(values, 0.1), hours=hours)


def test_counts_rates_and_delay() -> None:
    recordings = [clip("a", 0.9), clip("b", 0.7, at=22), clip("c", 0.4), clip("d", 0.9, at=5)]
    recordings += [stream("s", {10: 0.6, 15: 0.6, 30: 0.8}), stream("t", {}, hours=1.5)]
    found = DetectionEvaluation(recordings).evaluate_at(TRIGGER)
    assert (found.words, found.misses, found.false_alarms, found.hours) == (4, 2, 2, 2.0)  # 15 rests after 10
    assert found.missed == ("c", "d")  # d fires before its word
    assert [(name, round(e.time, 3)) for name, e in found.false_alarm_events] == [("s", 1.0), ("s", 3.0)]
    result = found.to_json()
    assert result["miss_rate"] == 0.5 and result["false_alarms_per_hour"] == 1.0
    assert result["delay_ms"] == {"median": 300.0, "p95": 390.0}  # 200 and 400 ms
    assert result["intervals"]["false_alarms_per_hour"] == pytest.approx([0.242 / 2, 7.225 / 2], abs=1e-3)
    assert result["intervals"]["miss_rate"] == pytest.approx([0.0676, 0.9324], abs=1e-3)  # 2 of 4, binom.test
    json.dumps(result, allow_nan=False)


def test_no_words_and_no_audio() -> None:
    only_streams = DetectionEvaluation([stream("s", {10: 0.6})]).evaluate_at(TRIGGER).to_json()
    assert only_streams["positives"] == 0 and only_streams["miss_rate"] is None
    assert only_streams["intervals"]["miss_rate"] is None and only_streams["delay_ms"] is None
    only_clips = DetectionEvaluation([clip("a", 0.9)]).evaluate_at(TRIGGER).to_json()
    assert only_clips["hours"] == 0 and only_clips["false_alarms_per_hour"] is None
    nothing = DetectionEvaluation([])
    assert nothing.evaluate_at(TRIGGER).to_json()["positives"] == 0
    assert nothing.make_det_curve(TRIGGER) == [] and nothing.find_threshold(0, TRIGGER) == 0.0
    empty = DetectionEvaluation([ScoredRecording("e", Scores(np.zeros(0), 0.1), (LabelledWord(0, 1),))])
    assert empty.evaluate_at(TRIGGER).misses == 1


def test_a_clips_events_beside_its_word_enter_no_rate() -> None:
    values = np.zeros(80)
    values[[5, 20, 70]] = 0.9
    found = DetectionEvaluation(
        [ScoredRecording("a", Scores(values, 0.1), (LabelledWord(1.0, 3.0),)), stream("s", {})]
    ).evaluate_at(TRIGGER)
    assert (found.misses, found.false_alarms) == (0, 0)


def test_the_threshold_for_so_many_alarms() -> None:
    recordings = [stream("s", {100: 0.9, 103: 0.95, 300: 0.7, 500: 0.8}), clip("a", 0.75)]
    evaluation = DetectionEvaluation(recordings)
    none, one, two = (evaluation.find_threshold(k, TRIGGER) for k in (0, 1, 2))
    assert none == np.nextafter(0.95, 1) and one == np.nextafter(0.8, 1) and two == np.nextafter(0.7, 1)
    for allowed, threshold in enumerate((none, one, two)):
        assert evaluation.evaluate_at(Trigger(threshold, refractory=1.0)).false_alarms == allowed
    assert evaluation.evaluate_at(Trigger(two, refractory=1.0)).misses == 0


def test_the_curve_agrees_with_each_of_its_thresholds() -> None:
    rng = np.random.default_rng(0)
    recordings = [clip(str(i), float(rng.random())) for i in range(30)]
    recordings += [ScoredRecording("s", Scores(rng.random(3000), 0.1), hours=0.4)]
    trigger = Trigger(0.5, smoothing=3, refractory=1.0)
    evaluation = DetectionEvaluation(recordings)
    curve = evaluation.make_det_curve(trigger, points=40)
    assert len(curve) > 20
    for row in curve:
        found = evaluation.evaluate_at(Trigger(row["threshold"], 3, 1.0))
        assert (row["misses"], row["false_alarms"]) == (found.misses, found.false_alarms)
    assert [r["threshold"] for r in curve] == sorted((r["threshold"] for r in curve), reverse=True)
    assert [r["misses"] for r in curve] == sorted((r["misses"] for r in curve), reverse=True)


def test_the_interval_of_misses_is_over_speakers_where_they_are_known() -> None:
    same = [clip(f"{s}{i}", 0.9 if s % 2 else 0.1, speaker=f"s{s}") for s in range(10) for i in range(20)]
    over_speakers = DetectionEvaluation(same).evaluate_at(TRIGGER)
    over_clips = DetectionEvaluation([clip(h.name, h.scores.values.max()) for h in same]).evaluate_at(TRIGGER)
    assert (over_speakers.over, over_clips.over) == ("speakers", "recordings")
    low, high = over_speakers.miss_interval or (0, 0)
    narrow = over_clips.miss_interval or (0, 0)
    assert high - low > 2 * (narrow[1] - narrow[0])  # whole speakers miss: ten units, not two hundred
    none_missed = DetectionEvaluation([clip("a", 0.9, speaker="x"), clip("b", 0.9, speaker="y")]).evaluate_at(TRIGGER)
    assert none_missed.miss_interval == pytest.approx((0, 0.8419), abs=1e-3)  # a bootstrap would say 0 to 0


def test_by_condition() -> None:
    recordings = [ScoredRecording("a", clip("a", 0.9).scores, (LabelledWord(1, 3),), condition="clean")]
    recordings += [ScoredRecording("b", clip("b", 0.3).scores, (LabelledWord(1, 3),), condition="10 dB")]
    by = DetectionEvaluation(recordings).evaluate_by(TRIGGER, "condition")
    assert {name: f.misses for name, f in by.items()} == {"10 dB": 1, "clean": 0}


def test_another_engines_times(tmp_path: Path) -> None:
    table = tmp_path / "times.csv"
    table.write_text("stream,time,score\na,2.0,0.7\ns,10.5,\ns,11,0.2\n")
    times = read_detection_times(table)
    assert times == {"a": [Event(2.0, 0.7)], "s": [Event(10.5), Event(11.0, 0.2)]}
    recordings = [clip("a", 0), stream("s", {})]
    found = compute_metrics(recordings, [times.get(h.name, []) for h in recordings], TRIGGER)
    assert (found.misses, found.false_alarms) == (0, 2)


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("stream,when\na,1\n", "no column 'time'"),
        ("stream,time\na,soon\nb,-1\n", "line 3"),
        ("stream,time\na,nan\n", "nan"),
    ],
)
def test_a_table_of_times_that_cannot_be_used(tmp_path: Path, text: str, texts: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=texts):
        read_detection_times(tmp_path / "t.csv")
