"""Readers of CSV, TSV and JSONL, with column names of this toolkit, of Hugging Face datasets and of NeMo manifests."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from speechxfer.errors import Problems, UserError, suggest_nearest
from speechxfer.scoring.formats.transcript import (
    Side,
    TranscriptFile,
    Utterance,
    iter_numbered_lines,
    read_nfc_text,
    require_utterances,
)

_IDS = ("id", "utt_id", "utterance_id", "utt")
_AUDIO = ("audio", "audio_filepath", "path", "file", "file_name")
_SPEAKERS = ("speaker", "speaker_id", "spk_id", "client_id")
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript")
_REFERENCES = ("reference", "ref", *TEXT_COLUMNS)
_HYPOTHESES = ("hypothesis", "hyp", "pred_text", "prediction")
# columns that are never values to break a result down by
_NOT_GROUPS = {*_IDS, *_AUDIO, *_REFERENCES, *_HYPOTHESES, "start", "end", "offset", "segments", "words", "nbest"}

Record = Mapping[str, Any]


def read_csv(path: Path, side: Side) -> TranscriptFile:
    """Read comma-separated values (or semicolons or tabs, if the header has no comma), with quotes."""
    return _read_delimited(path, side, ",", "csv")


def read_tsv(path: Path, side: Side) -> TranscriptFile:
    """Read tab-separated values, in which quotes are ordinary characters."""
    return _read_delimited(path, side, "\t", "tsv")


def _read_delimited(path: Path, side: Side, delimiter: str, name: str) -> TranscriptFile:
    # TSV files written by hand or by Common Voice do not quote
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    text = read_nfc_text(path)
    first = text.partition("\n")[0]
    if delimiter not in first:  # spreadsheets write semicolons in some locales
        delimiter = next((other for other in (";", "\t", ",") if other in first), delimiter)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    problems = Problems(f"{path} is not valid {name.upper()}")
    records: list[tuple[int, Record]] = []
    try:
        header = [cell.strip() for cell in next(rows, [])]
        if duplicates := sorted({name for name in header if header.count(name) > 1}):
            raise UserError(f"two columns are named '{duplicates[0]}'", where=f"{path}:1")
        for row in rows:
            if len(row) == len(header):
                records.append((rows.line_num, dict(zip(header, row, strict=True))))
            elif row:
                problems.add(f"line {rows.line_num}: {len(row)} values for {len(header)} columns")
    except csv.Error as error:
        raise UserError(f"not valid {name.upper()}: {error}", where=f"{path}:{rows.line_num}") from None
    problems.raise_if_any()
    return _make_transcript(path, name, side, records)


def read_jsonl(path: Path, side: Side) -> TranscriptFile:
    """Read one JSON object per line."""
    problems = Problems(f"{path} is not valid JSON Lines", fix="write one object per line: {...}")
    records: list[tuple[int, Record]] = []
    for number, line in iter_numbered_lines(path):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            problems.add(f"line {number}: {getattr(error, 'msg', 'nested too deeply')}")
            continue
        if not isinstance(record, dict):
            problems.add(f"line {number}: a {type(record).__name__} instead of an object")
        elif "\\u" in line and not _is_encodable(record):
            problems.add(f"line {number}: an unpaired surrogate (\\ud800 to \\udfff) is not a character")
        else:
            records.append((number, record))
    problems.raise_if_any()
    return _make_transcript(path, "jsonl", side, records)


def _is_encodable(record: Record) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class _Columns:
    """Names of a table's columns by their role.

    Attributes:
        kept: columns that a result may be broken down by.
    """

    text: str
    id: str | None
    audio: str | None
    speaker: str | None
    other: str | None
    kept: tuple[str, ...]


def _make_transcript(path: Path, format: str, side: Side, records: list[tuple[int, Record]]) -> TranscriptFile:
    if not records:
        require_utterances(path, [])
    columns = _find_columns(path, side, list(dict.fromkeys(key for _, record in records for key in record)))
    problems = Problems(f"{path} cannot be scored")
    made = [_make_utterance(line, record, columns, side, problems) for line, record in records]
    problems.raise_if_any()
    utterances = require_utterances(path, [utterance for utterance in made if utterance is not None])
    return TranscriptFile(path, format, utterances, column=columns.text)


def _find_columns(path: Path, side: Side, known: list[str]) -> _Columns:
    """Assign roles to columns. Raises UserError without a column for the text, or for the id and the audio."""
    wanted, others = (_REFERENCES, _HYPOTHESES) if side == "reference" else ((*_HYPOTHESES, *TEXT_COLUMNS), _REFERENCES)
    text = _find_first(wanted, known)
    if text is None:
        swapped = _find_first(others, known) is not None
        raise UserError(
            f"no column for the {side}{suggest_nearest(wanted[0], known)}; the columns are {', '.join(known)}",
            where=str(path),
            fix=f"name it '{wanted[0]}' or 'text'" + (", or swap the two files" if swapped else ""),
        )
    id, audio = _find_first(_IDS, known), _find_first(_AUDIO, known)
    if id is None and audio is None:
        raise UserError(
            f"no 'id' or 'audio' column to match utterances by; the columns are {', '.join(known)}",
            where=str(path),
            fix="add one, or score plain lines with --by-line",
        )
    return _Columns(
        text=text,
        id=id,
        audio=audio,
        speaker=_find_first(_SPEAKERS, known),
        other=_find_first([name for name in others if name != text], known),
        kept=tuple(name for name in known if name not in _NOT_GROUPS),
    )


def _make_utterance(line: int, record: Record, columns: _Columns, side: Side, problems: Problems) -> Utterance | None:
    """Convert a row to an utterance; None, with a problem added, if it has no id or no valid text."""
    audio = _name_audio(record, columns.audio)
    id = _to_text(record.get(columns.id)) if columns.id else audio
    text = record.get(columns.text)
    if id is None or not id.strip():
        problems.add(f"line {line}: no {columns.id or columns.audio}")
        return None
    if text is not None and (isinstance(text, bool) or not isinstance(text, (str, int, float))):
        problems.add(f"line {line} ({id}): '{columns.text}' is a {type(text).__name__}, not a text")
        return None
    if text is None and side == "reference":
        problems.add(f"line {line} ({id}): no '{columns.text}'")
        return None
    values = {name: value for name in columns.kept if (value := _to_text(record.get(name))) is not None}
    return Utterance(
        id=unicodedata.normalize("NFC", id.strip()),
        text="" if text is None else str(text),
        line=line,
        audio=audio,
        speaker=values.get(columns.speaker) if columns.speaker else None,
        other=_to_text(record.get(columns.other)) if columns.other else None,
        columns=values,
        absent=text is None,
    )


def _name_audio(record: Record, column: str | None) -> str | None:
    """Return the path of a row's audio, with `#start-end` for a segment of a file, as `transcribe` names it."""
    value = record.get(column) if column else None
    if isinstance(value, dict):  # Hugging Face's audio column
        value = value.get("path")
    if value is None:
        return None
    start, end = record.get("start"), record.get("end")
    if record.get("offset") not in (None, ""):  # NeMo gives a segment's start and duration
        start, length = record["offset"], record.get("duration")
        end = end if length in (None, "") else _add(start, length)
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


def _find_first(names: Iterable[str], known: list[str]) -> str | None:
    return next((name for name in names if name in known), None)
