"""HTML report of an evaluation: metrics, DET curve, and the missed clips and false alarms as playable audio."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechxfer.atomic import write_text_atomically
from speechxfer.data.audio import load_waveform
from speechxfer.escaping import escape_controls
from speechxfer.wakeword.evaluation.evaluate import DetectorReport
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

_MAX_CLIPS = 30  # of each list, embedded in the page
_CONTEXT_SECONDS = (2.0, 1.0)  # s before and after a false alarm that are played
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 620.0, 20.0, 310.0  # bounds of the plot, in SVG units


@dataclass(frozen=True)
class ReportClip:
    """An entry of a list. audio: a data: URL."""

    name: str
    note: str = ""
    audio: str = ""


def write_detector_report(
    path: Path | str, report: DetectorReport, *, facts: Mapping[str, str], warnings: Sequence[str] = ()
) -> None:
    """Write one HTML file that needs no network, runs no script and escapes all user text."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["escape_controls"] = escape_controls
    page = environment.from_string(resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    style = resources.files("speechxfer.report").joinpath("page.css").read_text(encoding="utf-8")
    result = report.to_json()
    missed, fired_on = _list_missed(report), _list_false_alarms(report)
    text = page.render(
        word=report.word,
        f=result,
        by=result["by"],
        style=Markup(style),
        facts=facts,
        warnings=warnings,
        lists=[
            ("Missed clips", missed, len(result["missed"]) - len(missed)),
            ("False alarms", fired_on, len(result["fired_on"]) - len(fired_on)),
        ],
        **_plot_curve(result),
    )
    write_text_atomically(Path(path), text)


def _list_missed(report: DetectorReport) -> list[ReportClip]:
    clips = []
    for name in report.metrics.missed[:_MAX_CLIPS]:
        row = report.clips.get(name)
        clips.append(ReportClip(name, audio=_encode_audio(load_waveform(row)) if row else ""))
    return clips


def _list_false_alarms(report: DetectorReport) -> list[ReportClip]:
    clips = []
    for name, event in report.metrics.false_alarm_events[:_MAX_CLIPS]:
        place = report.locate_event(name, event)
        if place is None:
            clips.append(ReportClip(name, f"{event.time:.2f} s"))
            continue
        waveform, time = load_waveform(place.row), event.time - place.start
        before, after = _CONTEXT_SECONDS
        start, end = (round(max(0.0, time + offset) * SAMPLE_RATE) for offset in (-before, after))
        note = f"{time:.2f} s, score {event.score:.3f}"
        clips.append(ReportClip(str(place.row["id"]), note, _encode_audio(waveform[start:end])))
    return clips


def _encode_audio(waveform: np.ndarray) -> str:
    """Return a data: URL of FLAC audio; empty for an empty waveform."""
    if not len(waveform):
        return ""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _plot_curve(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return points and ticks of the DET curve: false alarms per hour on a log scale, miss rate on a linear one."""
    rows = [r for r in result["curve"] if r["miss_rate"] is not None and r["false_alarms_per_hour"] is not None]
    if not rows:
        return {"points": "", "here": None, "x_ticks": [], "y_ticks": []}
    min_rate = 1 / result["hours"] / 3  # position of 0 false alarms: a third of the rate of 1
    max_rate = max(max(r["false_alarms_per_hour"] for r in rows), 10 * min_rate)
    max_miss = max(0.05, min(1.0, 1.1 * max(r["miss_rate"] for r in rows if r["false_alarms_per_hour"] <= max_rate)))

    def x(rate: float) -> float:
        share = math.log(max(rate, min_rate) / min_rate) / math.log(max_rate / min_rate)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def y(rate: float) -> float:
        return round(_BOTTOM - min(rate, max_miss) / max_miss * (_BOTTOM - _TOP), 1)

    decades = range(math.ceil(math.log10(min_rate)), math.floor(math.log10(max_rate)) + 1)
    here = result["false_alarms_per_hour"], result["miss_rate"]
    return {
        "points": " ".join(f"{x(r['false_alarms_per_hour'])},{y(r['miss_rate'])}" for r in rows),
        "here": (x(here[0]), y(here[1])) if None not in here else None,
        "x_ticks": [(x(10.0**d), f"{10.0**d:g}") for d in decades],
        "y_ticks": [(y(max_miss * k / 4), f"{100 * max_miss * k / 4:.3g} %") for k in range(5)],
    }
