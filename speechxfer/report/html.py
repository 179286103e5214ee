"""Self-contained HTML report of scores: headline, groups, error analysis, and every utterance with its alignment.

All user text reaches the page through Jinja's escaping, or as JSON that the script inserts as text, and the page's
content security policy allows no other script: a transcript may contain `<script>`.
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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from speechxfer.atomic import write_text_atomically
from speechxfer.escaping import escape_controls
from speechxfer.report.formatting import format_percent
from speechxfer.report.score_rows import order_values
from speechxfer.scoring import AlignedWord, Counts, GroupScore, Score, compare_systems
from speechxfer.scoring.analysis import AnalysedScore, analyse_score
from speechxfer.scoring.error_analysis import MIN_WORD_OCCURRENCES, ErrorAnalysis
from speechxfer.scoring.labels import LabelScore
from speechxfer.scoring.tokens import UNIT_NAMES
from speechxfer.scoring.units import METRIC_NAMES, convert_error_rate, is_accuracy

_HERE = Path(__file__).parent
_MAX_CHART_GROUPS = 60  # values of a column that a chart shows
_ACCURACY_AXIS = 1.0, 0.2  # end and step
_MAX_MATRIX_LABELS = 60  # labels above which the confusion matrix is a list of confusions
_MAX_OPEN_GROUPS = 12  # values of a column above which its chart is collapsed


@dataclass(frozen=True)
class ReportAudio:
    """Audio of a report's utterances.

    Attributes:
        files: utterance id to audio file, with `#start-end` in seconds for a segment of it.
        num_embedded: number of files, of the worst utterances, that are embedded in the page; others are linked.
    """

    files: Mapping[str, str]
    num_embedded: int = 0


def write_html_report(
    path: Path | str,
    title: str,
    systems: Mapping[str, Score | AnalysedScore],
    *,
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    advice: Sequence[Mapping[str, str]] = (),
    curve: Sequence[Mapping[str, Any]] = (),
    audio: ReportAudio | None = None,
) -> None:
    """Write the report of one or more systems, side by side.

    Args:
        systems: scores by name of the system; a score that is not analysed yet is analysed here.
        facts: how the report was made, as label to text.
        warnings: messages for the reader.
        advice: what to do next, each with its `action` and `evidence`.
        curve: points of a learning curve, each with `share`, `hours`, `utterances`, `dev` (an error rate) and
            optionally the `metric` that it is shown as.
        audio: audio files of the utterances.
    """
    import jinja2
    from markupsafe import Markup

    target = Path(path)
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"rate": _format_rate, "escape_controls": escape_controls, "count": _format_count}
    page = environment.from_string((_HERE / "page.html").read_text(encoding="utf-8"))
    analysed = {name: one if isinstance(one, AnalysedScore) else analyse_score(one) for name, one in systems.items()}
    scores = {name: one.score for name, one in analysed.items()}
    worst = {name: _list_worst(one.score, one.errors) for name, one in analysed.items()}
    sources = _make_audio_sources(audio, worst.values(), target.parent) if audio else {}
    text = page.render(
        title=title,
        systems=analysed,
        comparisons=_describe_comparisons(scores),
        worst=worst,
        select_changes=_select_changes,
        charts=_make_charts(scores),
        max_open_groups=_MAX_OPEN_GROUPS,
        min_word_occurrences=MIN_WORD_OCCURRENCES,
        nouns=UNIT_NAMES,
        metric=METRIC_NAMES[next(iter(scores.values())).options.unit],
        show_dev=_format_dev,
        is_accuracy=is_accuracy,
        max_matrix_labels=_MAX_MATRIX_LABELS,
        facts=facts or {},
        warnings=warnings,
        advice=advice,
        curve=curve,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        data=Markup(_dump_for_script(_make_script_data(analysed, sources))),
    )
    write_text_atomically(target, text)


def _select_changes(rules: Sequence[tuple[str, Counts]]) -> list[tuple[str, int]]:
    """Return the errors as written, and after each rule that changed them; empty if none did."""
    steps = [(rule, after.errors) for (_, before), (rule, after) in pairwise(rules) if after.errors != before.errors]
    return [(rules[0][0], rules[0][1].errors), *steps] if steps else []


def _list_worst(score: Score, analysis: ErrorAnalysis) -> list[tuple[str, int, int]]:
    """Return id, errors and words of the worst utterances."""
    return [(score.ids[i], int(score.words[i, 1:].sum()), int(score.words[i, :3].sum())) for i in analysis.worst]


@dataclass(frozen=True)
class _Mark:
    """A rate and its interval on an axis. Positions are in per cent of the axis.

    Attributes:
        group: what is drawn; None for nothing.
        at: position of the rate.
        low: position of the interval's lower end.
        width: width of the interval.
        cut: the interval extends beyond the axis.
    """

    group: _ShownGroup | None
    at: float
    low: float
    width: float
    cut: bool


@dataclass(frozen=True)
class _ShownGroup:
    """What a chart shows of a group: an error rate or an accuracy, its interval (low, high), and the counts."""

    rate: float
    interval: tuple[float, float] | None
    counts: Counts


@dataclass(frozen=True)
class _Chart:
    """A chart of a column's groups.

    Attributes:
        ticks: (position in per cent of the axis, rate in per cent).
        rows: a value and a mark for each system; the first row is for all utterances.
        num_hidden: number of groups that are not drawn.
    """

    column: str
    ticks: list[tuple[float, float]]
    rows: list[tuple[str, list[_Mark]]]
    num_hidden: int


def _make_charts(systems: Mapping[str, Score]) -> list[_Chart]:
    return [_make_chart(list(systems.values()), column) for column in next(iter(systems.values())).shown_columns]


def _make_chart(scores: Sequence[Score], column: str) -> _Chart:
    """Make the chart of a column's groups."""
    groups = {value: [score.by.get(column, {}).get(value) for score in scores] for value in scores[0].by[column]}
    order = order_values(scores[-1], column, groups)
    shown: list[tuple[str, list[GroupScore | None]]] = [("", [score.overall for score in scores])]
    shown += [(value, groups[value]) for value in order[:_MAX_CHART_GROUPS]]
    is_label = isinstance(scores[0], LabelScore)
    known = [group for _, row in shown for group in row if group is not None]
    top, step = _ACCURACY_AXIS if is_label else _choose_axis(known)
    ticks = [(100 * k * step / top, 100 * k * step) for k in range(round(top / step) + 1)]
    rows = [
        (value, [_make_mark(_select_shown(group, is_label=is_label), top) for group in row]) for value, row in shown
    ]
    return _Chart(column, ticks, rows, len(order) - len(rows) + 1)


def _choose_axis(groups: Sequence[GroupScore]) -> tuple[float, float]:
    """Return the end and the step of an axis for all rates, and for intervals up to 1.5 times the highest rate."""
    rates = [group.wer for group in groups if group.wer is not None]
    highest = min(max([*rates, 0.01]), 2.0)
    ends = [group.interval.high for group in groups if group.interval is not None]
    top = min(max([highest, *ends]), 1.5 * highest)
    power = 10.0 ** math.floor(math.log10(top / 5))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= top / 5)
    return step * math.ceil(top / step - 1e-9), step


def _select_shown(group: GroupScore | None, *, is_label: bool) -> _ShownGroup | None:
    if group is None or group.wer is None:
        return None
    found = None if group.interval is None else (group.interval.low, group.interval.high)
    if not is_label:
        return _ShownGroup(group.wer, found, group.counts)
    return _ShownGroup(1 - group.wer, None if found is None else (1 - found[1], 1 - found[0]), group.counts)


def _make_mark(group: _ShownGroup | None, top: float) -> _Mark:
    if group is None:
        return _Mark(None, 0, 0, 0, False)

    def position(rate: float) -> float:
        return round(100 * min(max(rate, 0.0), top) / top, 2)

    low, high = group.interval or (group.rate, group.rate)
    return _Mark(group, position(group.rate), position(low), round(position(high) - position(low), 2), high > top)


def _describe_comparisons(systems: Mapping[str, Score]) -> list[tuple[str, str, str]]:
    """Return names and difference of every pair of systems; nothing if their utterances or options differ."""
    alike = {(frozenset(s.ids), json.dumps(s.options.to_json())) for s in systems.values()}
    if len(systems) < 2 or len(alike) > 1:
        return []
    return [(before, after, found.summary()) for (before, after), found in compare_systems(systems).items()]


def _make_script_data(systems: Mapping[str, AnalysedScore], sources: Mapping[str, str]) -> dict[str, Any]:
    """Return the data that the page's script shows.

    `rows` has an entry per utterance with its id, `g`: its values of `columns`, `a`: its audio, and `s`: for each
    system its errors, words, aligned words and whether it has a repetition loop. The first `filters` columns can be
    selected.
    """
    first = next(iter(systems.values())).score
    columns = list(dict.fromkeys([*first.shown_columns, *first.by_columns]))
    rows: dict[str, dict[str, Any]] = {}
    for k, analysed in enumerate(systems.values()):
        score, loops = analysed.score, set(analysed.errors.loops)
        for i, (name, words) in enumerate(zip(score.ids, score.iter_alignments(), strict=True)):
            row = rows.setdefault(name, {"id": name, "s": [None] * len(systems)})
            row["s"][k] = _make_cell(score, i, words, i in loops)
    for i, name in enumerate(first.ids):  # the groups of the first system are shown
        rows[name]["g"] = [first.columns[column][i] for column in columns]
    for name, source in sources.items():
        if name in rows:
            rows[name]["a"] = source
    return {
        "systems": list(systems),
        "columns": columns,
        "filters": len(first.shown_columns),
        "labels": isinstance(first, LabelScore),
        "rows": [*rows.values()],
    }


def _make_cell(score: Score, index: int, words: Sequence[AlignedWord], has_loop: bool) -> list[Any]:
    # a fragment, or an optional word left out, is correct without being equal
    aligned = [w.reference if w.reference == w.hypothesis else list(w) for w in words]
    return [int(score.words[index, 1:].sum()), int(score.words[index, :3].sum()), aligned, int(has_loop)]


def _make_audio_sources(
    audio: ReportAudio, worst: Iterable[Sequence[tuple[str, int, int]]], folder: Path
) -> dict[str, str]:
    """Return an audio element's source for each utterance: a path relative to the report, or the file as a data URL.

    A file that is not audio is linked, never embedded: a table may name any file of this machine.

    Args:
        worst: (id, errors, words) of the worst utterances of each system.
        folder: the folder of the report.
    """
    ranked = [one[0] for rank in zip_longest(*worst) for one in rank if one]
    files = {name: _find_file(source, folder) for name, source in audio.files.items()}
    candidates = [
        name for name in dict.fromkeys(ranked) if (place := files.get(name)) is not None and _is_audio(place[0])
    ]
    embedded = set(candidates[: audio.num_embedded])
    sources = {}
    for name, found in files.items():
        if found is None:
            continue
        file, segment = found
        if name in embedded:
            media_type = mimetypes.guess_type(file.name)[0] or ""
            media_type = media_type if media_type.startswith("audio/") else "audio/wav"
            url = f"data:{media_type};base64,{base64.b64encode(file.read_bytes()).decode()}"
        else:
            url = urllib.parse.quote(os.path.relpath(file, folder).replace(os.sep, "/"))
            url = url if url.startswith(".") else f"./{url}"  # a name with a colon would be read as a URL
        if times := re.fullmatch(r"([\d.]*)-([\d.]*)", segment):
            url += f"#t={times[1] or 0},{times[2]}".rstrip(",")
        sources[name] = url
    return sources


def _find_file(source: str, folder: Path) -> tuple[Path, str] | None:
    """Return the file and the segment of `path#start-end`; None if there is no such file."""
    path, _, segment = str(source).partition("#")
    file = Path(path) if Path(path).exists() else folder / path
    return (file, segment) if file.is_file() else None


def _is_audio(file: Path) -> bool:
    """Return whether soundfile opens the file as audio."""
    import soundfile  # takes 0.1 s

    try:
        return bool(soundfile.info(file).frames)
    except (soundfile.SoundFileError, OSError, TypeError):  # TypeError: a name that ends in .raw
        return False


def _dump_for_script(value: Any) -> str:
    """Dump JSON with `<`, `>` and `&` escaped, so that no HTML parser can leave the script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _format_count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def _format_dev(point: Mapping[str, Any]) -> str:
    return format_percent(convert_error_rate(point["dev"], point.get("metric", "")))


def _format_rate(rate: float | None) -> str:
    return "–" if rate is None else format_percent(rate)
