"""SubRip (.srt) and WebVTT (.vtt, w3.org/TR/webvtt1) subtitles as transcripts with times."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import NamedTuple

from speechxfer.errors import Problems
from speechxfer.tables.text_file import read_text

SUBTITLE_SUFFIXES = (".srt", ".vtt")
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_VOICE = re.compile(r"<v(?:\.[^ >]*)?\s+([^>]+)>")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")


class Cue(NamedTuple):
    """A subtitle. start, end: seconds; speaker: the name in WebVTT's voice tag, or empty."""

    start: float
    end: float
    text: str
    speaker: str


def read_subtitles(path: Path) -> list[Cue]:
    """Read the cues of a file in their order; markup is removed, and cues without text are left out.

    Raises:
        UserError: if the file is not UTF-8, or a cue ends before it starts.
    """
    problems = Problems(f"{path}: cues that cannot be used", fix="correct the times: 00:00:01,000 --> 00:00:02,500")
    cues = []
    for block in re.split(r"\n[ \t]*\n", read_text(path).replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip("\n").split("\n")
        at = next((number for number, line in enumerate(lines) if _TIMES.match(line)), None)
        if at is None:  # the header of WebVTT, notes and styles
            continue
        found = _TIMES.match(lines[at])
        assert found is not None
        start, end = _to_seconds(found.groups()[:4]), _to_seconds(found.groups()[4:])
        if end <= start:
            problems.add(f"'{lines[at].strip()}' ends before it starts")
            continue
        text = " ".join(lines[at + 1 :])
        voice = _VOICE.search(text)
        words = " ".join(html.unescape(_MARKUP.sub(" ", text)).split())
        if words:
            cues.append(Cue(start, end, words, voice[1].strip() if voice else ""))
    problems.raise_if_any()
    return cues


def _to_seconds(fields: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = fields
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0) + float(f"0.{fraction}")
