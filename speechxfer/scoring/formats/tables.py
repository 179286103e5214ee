"""Reads tables (CSV, TSV, JSON) of references and hypotheses; their column names are those of `speechxfer.tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from types import MappingProxyType
from typing import Any

from speechxfer.errors import Problems, UserError
from speechxfer.scoring.formats.text_columns import TableSide, choose_text_columns
from speechxfer.scoring.formats.transcript import TranscriptFile, Utterance, require_utterances
from speechxfer.tables import Table, list_names, map_columns, read_table
from speechxfer.text.characters import compose

# columns that are never values to break a result down by
_NOT_GROUPS = {*list_names("id", "audio", "text", "reference", "hypothesis", "start", "end")}
_NOT_GROUPS |= {"segments", "words", "nbest", "score", "top"}
NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class _Cells:
    """The columns of a table by their role; None for a role that no column has. kept: columns of possible groups."""

    text: Sequence[Any]
    other: Sequence[Any] | None
    id: Sequence[Any] | None
    audio: Sequence[Any] | None
    speaker: Sequence[Any] | None
    kept: dict[str, Sequence[Any]]


def read_table_transcript(
    path: Path, side: TableSide, columns: Mapping[str, str] = NO_COLUMNS, *, format: str | None = None
) -> TranscriptFile:
    """Read a table.

    Args:
        side: the text that is wanted; "both" for a table that is scored by itself, whose hypotheses are the text.
        columns: kind of column (reference, hypothesis, id, speaker, ...) to its name.
        format: csv, tsv or jsonl (default: by the suffix).

    Raises:
        UserError: naming file and line, for what cannot be read or has no single reading.
    """
    table = read_table(path, format=format)
    if not len(table):
        require_utterances(path, [])
    roles = map_columns(table.columns, columns, str(path))
    texts = choose_text_columns(table, side, columns)
    own, other = texts.hypothesis, texts.reference
    if side == "reference":
        own, other = other, own
    assert own is not None
    if "id" not in roles and "audio" not in roles:
        raise UserError(
            f"no 'id' or 'audio' column to match utterances by; the columns are {', '.join(table.columns)}",
            where=str(path),
            fix="add one, name it with --column id=NAME, or score plain lines with --by-line",
        )
    cells = _Cells(
        text=table.columns[own],
        other=table.columns[other] if other is not None else None,
        id=table.columns[roles["id"]] if "id" in roles else None,
        audio=_name_audio(table, roles) if "audio" in roles else None,
        speaker=table.columns[roles["speaker"]] if "speaker" in roles else None,
        kept={
            name: column
            for name, column in table.columns.items()
            if name not in _NOT_GROUPS and name not in (own, other)
        },
    )
    utterances = _convert_columns(cells, table.lines)
    if utterances is None:
        problems = Problems(f"{path} cannot be scored")
        made = [_make_utterance(row, table, cells, own, side, problems) for row in range(len(table))]
        problems.raise_if_any()
        utterances = [utterance for utterance in made if utterance is not None]
    utterances = _use_audio_for_duplicates(utterances)
    return TranscriptFile(path, table.format, require_utterances(path, utterances), column=own, other_column=other)


def _convert_columns(cells: _Cells, lines: Sequence[int]) -> list[Utterance] | None:
    """Convert all rows at once, several times as fast as one by one; None if some cells are not plain texts."""
    given = [cells.id, cells.text, *(one for one in (cells.other, cells.speaker) if one is not None)]
    columns = [column for column in (*given, *cells.kept.values()) if column is not None]
    if cells.id is None or any(set(map(type, column)) != {str} for column in columns):
        return None
    ids = [compose(id.strip()) for id in cells.id]
    if not all(ids):
        return None
    known: dict[tuple[str, ...], dict[str, str]] = {}  # rows with equal values share them
    rows = zip(*cells.kept.values(), strict=True) if cells.kept else repeat((), len(ids))
    values = [known.setdefault(row, dict(zip(cells.kept, row, strict=True))) for row in rows]
    return [
        Utterance(*row)
        for row in zip(
            ids,
            map(compose, cells.text),
            lines,
            repeat(None, len(ids)) if cells.audio is None else cells.audio,
            repeat(None, len(ids)) if cells.speaker is None else cells.speaker,
            repeat(None, len(ids)) if cells.other is None else map(compose, cells.other),
            values,
            strict=True,
        )
    ]


def _make_utterance(
    row: int, table: Table, cells: _Cells, own: str, side: TableSide, problems: Problems
) -> Utterance | None:
    """Convert a row to an utterance; None, with a problem added, if it has no id or no valid text."""
    line = table.lines[row]
    audio = cells.audio[row] if cells.audio is not None else None
    id = _to_text(cells.id[row]) if cells.id is not None else None
    id = id if id and id.strip() else audio
    text = cells.text[row]
    if id is None or not id.strip():
        problems.add(f"line {line}: no id or audio")
        return None
    if text is not None and (isinstance(text, bool) or not isinstance(text, (str, int, float))):
        problems.add(f"line {line} ({id}): '{own}' is a {type(text).__name__}, not a text")
        return None
    if text is None and side == "reference":
        problems.add(f"line {line} ({id}): no '{own}'")
        return None
    values = {name: value for name, cell in cells.kept.items() if (value := _to_text(cell[row])) is not None}
    other = _to_text(cells.other[row]) if cells.other is not None else None
    return Utterance(
        id=compose(id.strip()),
        text="" if text is None else compose(str(text)),
        line=line,
        audio=audio,
        speaker=_to_text(cells.speaker[row]) if cells.speaker is not None else None,
        other=None if other is None else compose(other),
        columns=values,
        absent=text is None,
    )


def _use_audio_for_duplicates(utterances: list[Utterance]) -> list[Utterance]:
    """Use the audio as the id if ids occur more than once and audio does not, as `speechxfer.data.reader` does."""
    if len({u.id for u in utterances}) == len(utterances):
        return utterances
    audio = [u.audio for u in utterances]
    if None in audio or len(set(audio)) < len(audio):
        return utterances
    return [u._replace(id=str(u.audio)) for u in utterances]


def _name_audio(table: Table, roles: Mapping[str, str]) -> list[str | None]:
    """Return the path of each row's audio, with `#start-end` for a segment of a file, as `transcribe` names it."""
    absent = [None] * len(table)
    starts, ends, durations = (
        table.columns[roles[role]] if role in roles else absent for role in ("start", "end", "duration")
    )
    rows = zip(table.columns[roles["audio"]], starts, ends, durations, strict=True)
    return [_name_segment(*row, has_end="end" in roles) for row in rows]


def _name_segment(value: Any, start: Any, end: Any, duration: Any, *, has_end: bool) -> str | None:
    if isinstance(value, dict):  # Hugging Face's audio column
        value = value.get("path")
    if value is None:
        return None
    if start not in (None, "") and duration not in (None, "") and not has_end:  # as NeMo gives segments
        end = _add(start, duration)
    if start in (None, "") and end in (None, ""):
        return str(value)
    return f"{value}#{_format_seconds(start) or 0}-{_format_seconds(end)}"


def _format_seconds(value: Any) -> str:
    """Write equal numbers (0.50, .5) in the same way; leave anything else as it is."""
    try:
        return "" if value in (None, "") else f"{float(value):.10g}"
    except (TypeError, ValueError):
        return str(value)


def _add(start: Any, length: Any) -> Any:
    try:
        return f"{float(start) + float(length):.10g}"
    except (TypeError, ValueError):
        return length


def _to_text(value: Any) -> str | None:
    return None if value is None or isinstance(value, (dict, list)) else str(value)
