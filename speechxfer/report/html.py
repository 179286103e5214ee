"""One HTML file that opens without a network: headline, groups, what went wrong, every utterance with its alignment.

Everything a person wrote reaches the page through Jinja's escaping or as JSON that the script puts in as text, and the
page's own policy lets no other script run: a transcript may hold `<script>`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import mimetypes
import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from speechxfer.scoring import AlignedWord, Counts, GroupScore, Score, compare_systems
from speechxfer.scoring.error_analysis import ErrorAnalysis, analyse_errors, count_by_rule
from speechxfer.scoring.tokens import UNIT_NAMES

_HERE = Path(__file__).parent
_GROUPS_SHOWN = 60  # values of a column in the chart
_LONG = 12  # values from which a chart is folded away
_CONTROLS = re.compile("[\u0000-\u0008\u000b-\u001f\u007f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def write_html_report(
    path: Path | str,
    title: str,
    systems: Mapping[str, Score],
    *,
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    advice: Sequence[Mapping[str, str]] = (),
    curve: Sequence[Mapping[str, Any]] = (),
    audio: Mapping[str, str] | None = None,
    embed: int = 0,
) -> None:
    """Write the report of one or more systems, side by side.

    facts: what the reader should know of how it was made. advice: `what` to do next, and the `evidence`. curve: of each
    portion of the training part its `share`, `hours`, `num_utterances` and `dev` rate. audio: id to a file, played from
    where it lies (`#start-end` seconds for a stretch of it); the first `embed` of the worst utterances' files are put
    inside the page.
    """
    import jinja2
    from markupsafe import Markup

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"rate": _rate, "seen": escape_bidi, "counted": _counted}
    page = environment.from_string((_HERE / "page.html").read_text(encoding="utf-8"))
    alignments = {name: score.get_alignments() for name, score in systems.items()}
    insights = {name: analyse_errors(score, alignments[name]) for name, score in systems.items()}
    worst = {name: _worst(score, insights[name]) for name, score in systems.items()}
    embedded = list(dict.fromkeys(one[0] for ranked in zip_longest(*worst.values()) for one in ranked if one))[:embed]
    text = page.render(
        title=title,
        systems=systems,
        comparisons=_comparisons(systems),
        insights=insights,
        worst=worst,
        rules={name: count_by_rule(score) for name, score in systems.items()},
        changed=_changed,
        charts=_charts(systems),
        long=_LONG,
        nouns=UNIT_NAMES,
        facts=facts or {},
        warnings=warnings,
        advice=advice,
        curve=curve,
        digest=digest,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        data=Markup(_script_json(_data(systems, alignments, insights, _sources(audio or {}, target.parent, embedded)))),
    )
    target.write_text(text, encoding="utf-8")


def _changed(rules: Sequence[tuple[str, Counts]]) -> list[tuple[str, int]]:
    """Errors as written, and after each rule that changed them; empty where none did."""
    steps = [(rule, after.errors) for (_, before), (rule, after) in pairwise(rules) if after.errors != before.errors]
    return [(rules[0][0], rules[0][1].errors), *steps] if steps else []


def _worst(score: Score, insight: ErrorAnalysis) -> list[tuple[str, int, int]]:
    """Id, errors and words of the worst utterances."""
    return [(score.ids[i], int(score.words[i, 1:].sum()), int(score.words[i, :3].sum())) for i in insight.worst]


def escape_bidi(text: str) -> str:
    """`text` with characters that would reorder or hide their neighbours shown by their numbers."""
    return _CONTROLS.sub(lambda found: f"[U+{ord(found[0]):04X}]", str(text))


@dataclass(frozen=True)
class _Mark:
    """A rate and its interval as places on an axis, in per cent of its width. cut: the interval goes on beyond it."""

    part: GroupScore | None
    at: float
    low: float
    width: float
    cut: bool


@dataclass(frozen=True)
class _Chart:
    """A column's groups: `rows` of a value and a mark for each system, the first for all utterances together.

    ticks: (place in per cent of the axis, rate in per cent). hidden: groups that are not drawn.
    """

    column: str
    ticks: list[tuple[float, float]]
    rows: list[tuple[str, list[_Mark]]]
    hidden: int


def _charts(systems: Mapping[str, Score]) -> list[_Chart]:
    """Of every column that a person would read, its groups by the last system's rate, the highest first."""
    first, last = next(iter(systems.values())), list(systems.values())[-1]
    charts = []
    for column in first.shown_columns:
        groups: dict[str, list[GroupScore | None]] = {
            v: [s.by.get(column, {}).get(v) for s in systems.values()] for v in first.by[column]
        }
        rates = {v: part.wer or 0.0 for v, part in last.by.get(column, {}).items()}
        order = sorted(groups, key=lambda value: (-rates.get(value, 0.0), value))
        shown: list[tuple[str, list[GroupScore | None]]] = [("", [s.overall for s in systems.values()])]
        shown += [(v, groups[v]) for v in order[:_GROUPS_SHOWN]]
        top, step = _axis([part for _, parts in shown for part in parts if part is not None])
        ticks = [(100 * k * step / top, 100 * k * step) for k in range(round(top / step) + 1)]
        rows = [(value, [_mark(part, top) for part in parts]) for value, parts in shown]
        charts.append(_Chart(column, ticks, rows, len(order) - len(rows) + 1))
    return charts


def _axis(parts: Sequence[GroupScore]) -> tuple[float, float]:
    """The right end and the step of an axis that holds all rates, and their intervals up to half as much again."""
    rates = [part.wer for part in parts if part.wer is not None]
    highest = min(max([*rates, 0.01]), 2.0)
    ends = [part.interval.high for part in parts if part.interval is not None]
    top = min(max([highest, *ends]), 1.5 * highest)
    power = 10.0 ** math.floor(math.log10(top / 5))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= top / 5)
    return step * math.ceil(top / step - 1e-9), step


def _mark(part: GroupScore | None, top: float) -> _Mark:
    if part is None or part.wer is None:
        return _Mark(None, 0, 0, 0, False)

    def place(rate: float) -> float:
        return round(100 * min(max(rate, 0.0), top) / top, 2)

    low, high = (part.interval.low, part.interval.high) if part.interval else (part.wer, part.wer)
    return _Mark(part, place(part.wer), place(low), round(place(high) - place(low), 2), high > top)


def _comparisons(systems: Mapping[str, Score]) -> list[tuple[str, str, str]]:
    """Names and difference of every pair of systems; none of systems that do not hold the same utterances."""
    alike = {(frozenset(s.ids), json.dumps(s.options.to_json())) for s in systems.values()}
    if len(systems) < 2 or len(alike) > 1:
        return []
    return [(before, after, found.summary()) for (before, after), found in compare_systems(systems).items()]


def _data(
    systems: Mapping[str, Score],
    alignments: Mapping[str, list[list[AlignedWord]]],
    insights: Mapping[str, ErrorAnalysis],
    sources: Mapping[str, str],
) -> dict[str, Any]:
    """What the script shows: of every utterance id, groups, audio, and a list of aligned words for each system. The
    first of the columns are those to choose by."""
    first = next(iter(systems.values()))
    place = {name: {u: i for i, u in enumerate(score.ids)} for name, score in systems.items()}
    home = next(iter(place.values()))  # rows of the first system, whose groups are shown
    loops = {name: set(insight.loops) for name, insight in insights.items()}
    columns = list(dict.fromkeys([*first.shown_columns, *first.by_columns]))
    rows = []
    for u in dict.fromkeys(u for score in systems.values() for u in score.ids):
        row: dict[str, Any] = {"id": u, "s": []}
        if u in home:
            row["g"] = [first.columns[c][home[u]] for c in columns]
        if u in sources:
            row["a"] = sources[u]
        for name, score in systems.items():
            i = place[name].get(u)
            if i is None:
                row["s"].append(None)
                continue
            # a fragment, or an optional word left out, is right without being equal
            words = [w.reference if w.reference == w.hypothesis else list(w) for w in alignments[name][i]]
            length = int(score.words[i, :3].sum())
            row["s"].append([int(score.words[i, 1:].sum()), length, words, int(i in loops[name])])
        rows.append(row)
    return {"systems": list(systems), "columns": columns, "filters": len(first.shown_columns), "rows": rows}


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


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
