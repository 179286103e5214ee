"""Plain-text summaries of a training and of an evaluation, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MAX_LISTED = 10  # recordings named
_ENOUGH_HOURS = 30  # hours without a false alarm that confirm 0.1/h


def tabulate_training(calibration: Mapping[str, Any], streams: Mapping[str, Any] | None) -> list[str]:
    """Return a table of misses and false alarms on held-out data and, if evaluated, on real streams.

    calibration: of the manifest. streams: JSON of an evaluation on streams.
    """
    kind, clips_kind = calibration["kind"], calibration["clips_kind"]
    held_out = kind if kind == clips_kind or not calibration["positives"] else f"{clips_kind} clips, {kind} speech"
    misses = f"{calibration['misses']} of {calibration['positives']}" if calibration["positives"] else "unknown"
    alarms = "unknown"
    if calibration["hours"]:
        counted = f"{calibration['alarms']} in {calibration['hours']:.2f} h"
        alarms = f"{counted}, at most {calibration['bound']:.2g}/h (95 % bound)"
    rows = [("evaluated on", "misses", "false alarms"), (f"held out, {held_out}", misses, alarms)]
    if streams is not None:
        rows.append(("real speech (--stream)", "not evaluated", describe_alarm_rate(streams)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{data:{widths[0]}}  {missed:{widths[1]}}  {alarms}" for data, missed, alarms in rows]
    if calibration["positives"]:
        lines.append("(each held-out clip is evaluated clean and with noise at 10 dB)")
    return lines


def describe_unusable(calibration: Mapping[str, Any]) -> str | None:
    """Return why a detector cannot be used, or None: it detects none of the held-out clips of its word."""
    clips = calibration["positives"]
    if not clips or calibration["misses"] < clips:
        return None
    return (
        f"the detector is unusable: it missed all {clips} held-out clips of the word; train it longer (--steps) or on "
        "more clips (--positives)"
    )


def list_suspects(names: Sequence[str]) -> list[str]:
    """Return lines that ask the user to check negatives on which the student fired as on the word."""
    if not names:
        return []
    more = [f"  ... and {len(names) - MAX_LISTED} more"] if len(names) > MAX_LISTED else []
    title = "Highest-scoring negatives (check that none contains the word):"
    return [title, *(f"  {name}" for name in names[:MAX_LISTED]), *more]


def summarize_evaluation(word: str, calibration: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """Return the lines of an evaluation. calibration: of the detector's manifest. result: JSON of the evaluation."""
    threshold = result["threshold"]
    lines = [f"'{word}' at threshold {threshold:.4g}" if threshold is not None else f"'{word}', detections as given"]
    if result["positives"]:
        low, high = (100 * bound for bound in result["intervals"]["miss_rate"])
        lines.append(
            f"  misses        {100 * result['miss_rate']:.1f} % [{result['misses']} / {result['positives']}], "
            f"95 % interval {low:.1f} to {high:.1f} over {result['intervals']['over']}"
        )
    if result["delay_ms"]:
        delay = result["delay_ms"]
        lines.append(
            f"  delay         {delay['median']:.0f} ms after the word's end, 95th percentile {delay['p95']:.0f} ms"
        )
    if result["hours"]:
        lines.append(f"  false alarms  {describe_alarm_rate(result)}")
    for column, groups in result["by"].items():
        for value, group in list(groups.items())[: 3 * MAX_LISTED]:
            lines.append(f"    {column} {value}: {group['misses']} / {group['positives']} missed")
    return [*lines, *_list_errors(result), *_describe_calibration(calibration)]


def collect_warnings(calibration: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """Return warnings on an evaluation that does not support a false-alarm rate."""
    warnings = []
    hours = result["hours"]
    if calibration.get("kind") == "synthetic" and not hours:
        warnings.append(
            "Neither training nor evaluation used real speech, so the false-alarm rate on people is unknown."
        )
    if hours and result["false_alarms"] == 0 and hours < _ENOUGH_HOURS:
        warnings.append(
            f"0 false alarms in {hours:.2f} h. That is too little audio: the true rate could be up to "
            f"{3.0 / hours:.2g}/h. To confirm 0.1/h, test on {_ENOUGH_HOURS} h of speech."
        )
    return warnings


def describe_alarm_rate(result: Mapping[str, Any]) -> str:
    """Return false alarms per hour with counts and interval."""
    low, high = result["intervals"]["false_alarms_per_hour"]
    return (
        f"{result['false_alarms_per_hour']:.2f}/h [{result['false_alarms']} in {result['hours']:.2f} h], "
        f"95 % interval {low:.2f} to {high:.2f}"
    )


def _list_errors(result: Mapping[str, Any]) -> list[str]:
    lines = []
    if result["missed"]:
        names = ", ".join(result["missed"][:MAX_LISTED])
        lines.append(f"  missed        {names}{' ...' if len(result['missed']) > MAX_LISTED else ''}")
    for event in result["fired_on"][:MAX_LISTED]:
        name, time = event.get("row", event["stream"]), event.get("time_in_row", event["time"])
        lines.append(f"  false alarm   {name} at {time} s")
    return lines


def _describe_calibration(calibration: Mapping[str, Any]) -> list[str]:
    if not calibration.get("hours"):
        return []
    return [
        f"  calibration   {calibration['alarms']} false alarms in {calibration['hours']:.2f} h of "
        f"{calibration['kind']} speech, {calibration['misses']} of {calibration['positives']} "
        f"{calibration.get('clips_kind', '')} clips missed"
    ]
