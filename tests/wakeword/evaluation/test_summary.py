"""Summaries for the terminal, from results written by hand."""

from __future__ import annotations

from typing import Any

from speechxfer.wakeword.evaluation.summary import (
    collect_warnings,
    describe_unusable,
    list_suspects,
    summarize_evaluation,
    tabulate_training,
)


def calibration(**others: Any) -> dict[str, Any]:
    values = {
        "kind": "real",
        "clips_kind": "real",
        "positives": 40,
        "misses": 3,
        "hours": 2.9,
        "alarms": 0,
        "bound": 1.04,
    }
    return {**values, **others}


def result(**others: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "threshold": 0.81, "positives": 50, "misses": 5, "miss_rate": 0.1, "hours": 2.0, "false_alarms": 1,
        "false_alarms_per_hour": 0.5, "by": {}, "missed": [], "fired_on": [],
        "delay_ms": {"median": 120.0, "p95": 300.0},
        "intervals": {"miss_rate": [0.03, 0.22], "false_alarms_per_hour": [0.01, 2.8], "over": "recordings"},
    }  # fmt: skip
    return {**values, **others}


def test_a_detector_that_detects_nothing_is_unusable() -> None:
    reason = describe_unusable(calibration(misses=40))
    assert reason is not None and "unusable: it missed all 40 held-out clips" in reason
    assert describe_unusable(calibration(misses=39)) is None
    assert describe_unusable(calibration(positives=0, misses=0)) is None  # unknown


NOT_EVALUATED = {"hours": 0, "false_alarms": 0, "false_alarms_per_hour": None}


def test_training_is_tabulated_with_and_without_streams() -> None:
    head, held_out, note = tabulate_training(calibration(), None)
    assert head.split() == ["evaluated", "on", "misses", "false", "alarms"]
    assert held_out == "held out, real  3 of 40  0 in 2.90 h, at most 1/h (95 % bound)"
    assert "noise at 10 dB" in note
    _, _, streams, _ = tabulate_training(calibration(), result())
    assert streams.startswith("real speech (--stream)  not evaluated  0.50/h [1 in 2.00 h], 95 % interval 0.01 to 2.80")


def test_training_without_clips_or_speech_is_unknown() -> None:
    _, held_out = tabulate_training(calibration(positives=0, hours=0.0), None)
    assert held_out.split()[-2:] == ["unknown", "unknown"]
    _, mixed, _ = tabulate_training(calibration(clips_kind="synthetic"), None)
    assert mixed.startswith("held out, synthetic clips, real speech")


def test_negatives_to_check_are_limited_to_ten() -> None:
    assert list_suspects([]) == []
    lines = list_suspects([f"{i}.wav" for i in range(12)])
    assert "check that none contains the word" in lines[0]
    assert lines[1:11] == [f"  {i}.wav" for i in range(10)] and lines[11] == "  ... and 2 more"


def test_an_evaluation_is_summarised() -> None:
    event = {"stream": "s", "time": 70.5, "row": "a.wav", "time_in_row": 1.5}
    by = {"speaker": {"anna": {"misses": 1, "positives": 9}}}
    lines = summarize_evaluation("juniper", calibration(), result(by=by, missed=["x.wav"], fired_on=[event]))
    assert lines == [
        "'juniper' at threshold 0.81",
        "  misses        10.0 % [5 / 50], 95 % interval 3.0 to 22.0 over recordings",
        "  delay         120 ms after the word's end, 95th percentile 300 ms",
        "  false alarms  0.50/h [1 in 2.00 h], 95 % interval 0.01 to 2.80",
        "    speaker anna: 1 / 9 missed",
        "  missed        x.wav",
        "  false alarm   a.wav at 1.5 s",
        "  calibration   0 false alarms in 2.90 h of real speech, 3 of 40 real clips missed",
    ]


def test_only_what_was_measured_is_summarised() -> None:
    nothing = result(threshold=None, positives=0, delay_ms=None, missed=[str(i) for i in range(11)], **NOT_EVALUATED)
    lines = summarize_evaluation("juniper", calibration(hours=0), nothing)
    assert lines == ["'juniper', detections as given", "  missed        0, 1, 2, 3, 4, 5, 6, 7, 8, 9 ..."]


def test_too_few_hours_without_a_false_alarm_are_warned_of() -> None:
    (warning,) = collect_warnings(calibration(), result(false_alarms=0, hours=0.5))
    assert "up to 6/h" in warning and "test on 30 h" in warning  # the rule of three: 3 / 0.5
    assert collect_warnings(calibration(), result(false_alarms=0, hours=31.0)) == []
    assert collect_warnings(calibration(), result()) == []


def test_synthetic_speech_alone_is_warned_of() -> None:
    (warning,) = collect_warnings(calibration(kind="synthetic"), result(**NOT_EVALUATED))
    assert "false-alarm rate on people is unknown" in warning
