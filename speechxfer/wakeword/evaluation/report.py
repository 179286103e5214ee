"""report.html of an evaluation: figures, the DET curve, and the clips that were missed or fired on, playable."""

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

from speechxfer.data.audio import load_waveform
from speechxfer.report.html import escape_bidi
from speechxfer.wakeword.evaluation.evaluate import DetectorReport
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

_CLIPS = 30  # of each list, put inside the page
_AROUND = (2.0, 1.0)  # s before and after a false alarm that are played
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 620.0, 20.0, 310.0  # of the plot, in its own units


@dataclass(frozen=True)
class ReportClip:
    """An entry of a list. audio: a data: URL."""

    name: str
    note: str = ""
    audio: str = ""


def write_detector_report(
    path: Path | str, measured: DetectorReport, *, facts: Mapping[str, str], warnings: Sequence[str] = ()
) -> None:
    """One HTML file that needs no network and runs no script; everything a person wrote is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["seen"] = escape_bidi
    page = environment.from_string(resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    style = resources.files("speechxfer.report").joinpath("page.css").read_text(encoding="utf-8")
    result = measured.to_json()
    text = page.render(
        word=measured.word,
        f=result,
        by=result["by"],
        style=Markup(style),
        facts=facts,
        warnings=warnings,
        lists=[
            (
                "Missed",
                *_shown([_missed(measured, name) for name in measured.metrics.missed[:_CLIPS]], len(result["missed"])),
            ),
            ("Fired on", *_shown(_fired(measured), len(result["fired_on"]))),
        ],
        **_plot(result),
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _shown(clips: list[ReportClip], of: int) -> tuple[list[ReportClip], int]:
    return clips, of - len(clips)


def _missed(measured: DetectorReport, name: str) -> ReportClip:
    row = measured.clips.get(name)
    return ReportClip(name, audio=_playable(load_waveform(row)) if row else "")


def _fired(measured: DetectorReport) -> list[ReportClip]:
    found = []
    for name, event in measured.metrics.false_alarm_events[:_CLIPS]:
        place = measured.locate_event(name, event)
        if place is None:
            found.append(ReportClip(name, f"{event.time:.2f} s"))
            continue
        waveform, at = load_waveform(place.row), event.time - place.start
        start, end = (round(max(0.0, at + side) * SAMPLE_RATE) for side in (-_AROUND[0], _AROUND[1]))
        note = f"{at:.2f} s, score {event.score:.3f}"
        found.append(ReportClip(str(place.row["id"]), note, _playable(waveform[start:end])))
    return found


def _playable(waveform: np.ndarray) -> str:
    if not len(waveform):
        return ""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _plot(result: Mapping[str, Any]) -> dict[str, Any]:
    """Points and ticks of the DET curve: alarms an hour on a logarithm's scale, misses on a plain one."""
    rows = [r for r in result["curve"] if r["miss_rate"] is not None and r["false_alarms_per_hour"] is not None]
    if not rows:
        return {"points": "", "here": None, "x_ticks": [], "y_ticks": []}
    least = 1 / result["hours"] / 3  # where no alarm stands: a third of one
    most = max(max(r["false_alarms_per_hour"] for r in rows), 10 * least)
    top = max(0.05, min(1.0, 1.1 * max(r["miss_rate"] for r in rows if r["false_alarms_per_hour"] <= most)))

    def x(rate: float) -> float:
        share = math.log(max(rate, least) / least) / math.log(most / least)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def y(rate: float) -> float:
        return round(_BOTTOM - min(rate, top) / top * (_BOTTOM - _TOP), 1)

    decades = range(math.ceil(math.log10(least)), math.floor(math.log10(most)) + 1)
    here = result["false_alarms_per_hour"], result["miss_rate"]
    return {
        "points": " ".join(f"{x(r['false_alarms_per_hour'])},{y(r['miss_rate'])}" for r in rows),
        "here": (x(here[0]), y(here[1])) if None not in here else None,
        "x_ticks": [(x(10.0**d), f"{10.0**d:g}") for d in decades],
        "y_ticks": [(y(top * k / 4), f"{100 * top * k / 4:.3g} %") for k in range(5)],
    }
