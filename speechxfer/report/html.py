"""One HTML file that opens without a network: headline, groups, what went wrong, every utterance with its alignment.

Everything a person wrote reaches the page through Jinja's escaping or as JSON that the script puts in as text, and the
page's own policy lets no other script run: a transcript may hold `<script>`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechxfer.scoring import Part, Score, Word, compare
from speechxfer.scoring.insight import by_rule, inspect

_HERE = Path(__file__).parent
_GROUPS_SHOWN = 60  # values of a column in the chart
_CONTROLS = re.compile("[\u0000-\u0008\u000b-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def write_report(
    path: Path | str,
    title: str,
    systems: Mapping[str, Score],
    *,
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    audio: Mapping[str, str] | None = None,
    embed: int = 0,
) -> None:
    """Write the report of one or more systems, side by side.

    facts: what the reader should know of how it was made. audio: id to a file, played from where it lies (`#start-end`
    seconds for a stretch of it); the first `embed` of the worst utterances' files are put inside the page.
    """
    import jinja2
    from markupsafe import Markup

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"rate": _rate, "seen": seen}
    page = environment.from_string((_HERE / "page.html").read_text(encoding="utf-8"))
    alignments = {name: score.alignments() for name, score in systems.items()}
    insights = {name: inspect(score, alignments[name]) for name, score in systems.items()}
    first = next(iter(systems.values()))
    order = list(dict.fromkeys(i for insight in insights.values() for i in insight.worst))
    worst = [first.ids[i] for i in order if i < len(first.ids)]
    text = page.render(
        title=title,
        systems=systems,
        comparisons=_comparisons(systems),
        insights=insights,
        rules={name: by_rule(score) for name, score in systems.items()},
        charts=_charts(systems),
        facts=facts or {},
        warnings=warnings,
        digest=digest,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        data=Markup(
            _script_json(_data(systems, alignments, insights, _sources(audio or {}, target.parent, worst[:embed])))
        ),
    )
    target.write_text(text, encoding="utf-8")


def seen(text: str) -> str:
    """`text` with characters that would reorder or hide their neighbours shown by their numbers."""
    return _CONTROLS.sub(lambda found: f"[U+{ord(found[0]):04X}]", str(text))


@dataclass(frozen=True)
class _Mark:
    """A rate and its interval as places on an axis, in per cent of its width."""

    part: Part | None
    at: float
    low: float
    width: float


def _charts(systems: Mapping[str, Score]) -> list[tuple[str, float, list[tuple[str, list[_Mark]]], int]]:
    """Of every column: name, the axis's right end in per cent, rows of value and a mark each system, rows not shown."""
    first = next(iter(systems.values()))
    charts = []
    for column, groups in first.by.items():
        found = [(v, [s.by.get(column, {}).get(v) for s in systems.values()]) for v in groups]
        found.sort(key=lambda row: (-(row[1][0].wer or 0.0) if row[1][0] else 0.0, row[0]))
        shown = found[:_GROUPS_SHOWN]
        ends = [p.wer for _, parts in shown for p in parts if p is not None and p.wer is not None]
        top = min(max([*ends, 0.05]) * 1.25, 2.0)
        rows = [(value, [_mark(part, top) for part in parts]) for value, parts in shown]
        charts.append((column, 100 * top, rows, len(found) - len(shown)))
    return charts


def _mark(part: Part | None, top: float) -> _Mark:
    if part is None or part.wer is None:
        return _Mark(None, 0, 0, 0)

    def place(rate: float) -> float:
        return round(100 * min(max(rate, 0.0), top) / top, 2)

    low, high = (part.interval.low, part.interval.high) if part.interval else (part.wer, part.wer)
    return _Mark(part, place(part.wer), place(low), round(place(high) - place(low), 2))


def _comparisons(systems: Mapping[str, Score]) -> list[tuple[str, str, str]]:
    names = list(systems)
    return [
        (names[0], name, compare(systems[names[0]], systems[name]).summary())
        for name in names[1:]
        if set(systems[name].ids) == set(systems[names[0]].ids)
        and systems[name].options.to_json() == systems[names[0]].options.to_json()
    ]


def _data(
    systems: Mapping[str, Score],
    alignments: Mapping[str, list[list[Word]]],
    insights: Mapping[str, Any],
    sources: Mapping[str, str],
) -> dict[str, Any]:
    """What the script shows: of every utterance id, groups, audio, and a list of aligned words for each system."""
    first = next(iter(systems.values()))
    place = {name: {u: i for i, u in enumerate(score.ids)} for name, score in systems.items()}
    home = next(iter(place.values()))  # rows of the first system, whose groups are shown
    loops = {name: set(insight.loops) for name, insight in insights.items()}
    rows = []
    for u in dict.fromkeys(u for score in systems.values() for u in score.ids):
        row: dict[str, Any] = {"id": u, "s": []}
        if u in home:
            row["g"] = [first.columns[c][home[u]] for c in first.by_columns]
        if u in sources:
            row["a"] = sources[u]
        for name, score in systems.items():
            i = place[name].get(u)
            if i is None:
                row["s"].append(None)
                continue
            words = [w.reference if w.operation == "=" else list(w) for w in alignments[name][i]]
            length = int(score.words[i, :3].sum())
            row["s"].append([int(score.words[i, 1:].sum()), length, words, int(i in loops[name])])
        rows.append(row)
    return {"systems": list(systems), "columns": list(first.by_columns), "rows": rows}


def _sources(audio: Mapping[str, str], folder: Path, embedded: Sequence[str]) -> dict[str, str]:
    """Id to what an audio element can play: a path relative to the report, or the bytes themselves."""
    found = {}
    for name, source in audio.items():
        path, _, stretch = str(source).partition("#")
        here = Path(path) if Path(path).exists() else folder / path
        if not here.is_file():
            continue
        if name in embedded:
            kind = mimetypes.guess_type(here.name)[0] or "audio/wav"
            url = f"data:{kind};base64,{base64.b64encode(here.read_bytes()).decode()}"
        else:
            url = urllib.parse.quote(os.path.relpath(here, folder).replace(os.sep, "/"))
            url = url if url.startswith(".") else f"./{url}"  # a name with a colon is no address
        if times := re.fullmatch(r"([\d.]*)-([\d.]*)", stretch):
            url += f"#t={times[1] or 0},{times[2]}".rstrip(",")
        found[name] = url
    return found


def _script_json(value: Any) -> str:
    """JSON that no HTML parser can leave: `<`, `>` and `&` as escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
