"""CSV, TSV and JSONL, with the column names of this toolkit, of Hugging Face data sets and of NeMo manifests."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping
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
_NOT_GROUPS = {*_IDS, *_AUDIO, *_REFERENCES, *_HYPOTHESES, "start", "end", "offset", "segments", "words", "nbest"}


def read_csv(path: Path, side: Side) -> TranscriptFile:
    return _delimited(path, side, ",", "csv")


def read_tsv(path: Path, side: Side) -> TranscriptFile:
    return _delimited(path, side, "\t", "tsv")


def _delimited(path: Path, side: Side, delimiter: str, name: str) -> TranscriptFile:
    # tabs between values leave quotes alone: a TSV written by hand or by Common Voice does not quote
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    text = read_nfc_text(path)
    first = text.partition("\n")[0]
    if delimiter not in first:  # a spreadsheet in another language writes semicolons
        delimiter = next((other for other in (";", "\t", ",") if other in first), delimiter)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    problems = Problems(f"{path} cannot be read as {name.upper()}")
    records: list[tuple[int, dict[str, Any]]] = []
    try:
        header = [cell.strip() for cell in next(rows, [])]
        if twice := sorted({c for c in header if header.count(c) > 1}):
            raise UserError(f"two columns are named '{twice[0]}'", where=f"{path}:1")
        for row in rows:
            if len(row) == len(header):
                records.append((rows.line_num, dict(zip(header, row, strict=True))))
            elif row:
                problems.add(f"line {rows.line_num}: {len(row)} values for {len(header)} columns")
    except csv.Error as error:
        raise UserError(f"not {name.upper()}: {error}", where=f"{path}:{rows.line_num}") from None
    problems.raise_if_any()
    return _transcript(path, name, side, records)


def read_jsonl(path: Path, side: Side) -> TranscriptFile:
    problems = Problems(f"{path} cannot be read as JSON lines", fix="each line is one object: {...}")
    records: list[tuple[int, dict[str, Any]]] = []
    for number, line in iter_numbered_lines(path):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            problems.add(f"line {number}: {getattr(error, 'msg', 'nested too deeply')}")
            continue
        if not isinstance(record, dict):
            problems.add(f"line {number}: a {type(record).__name__}, not an object")
        elif "\\u" in line and not _is_text(record):
            problems.add(f"line {number}: half a surrogate pair (\\ud800 to \\udfff), no character")
        else:
            records.append((number, record))
    problems.raise_if_any()
    return _transcript(path, "jsonl", side, records)


def _is_text(record: dict[str, Any]) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _transcript(path: Path, format: str, side: Side, records: list[tuple[int, dict[str, Any]]]) -> TranscriptFile:
    if not records:
        require_utterances(path, [])
    known = list(dict.fromkeys(key for _, record in records for key in record))
    wanted, others = (_REFERENCES, _HYPOTHESES) if side == "reference" else ((*_HYPOTHESES, *TEXT_COLUMNS), _REFERENCES)
    text_column = _first(wanted, known)
    if text_column is None:
        swapped = _first(others, known) is not None
        raise UserError(
            f"no column for the {side}{suggest_nearest(wanted[0], known)}; it has {', '.join(known)}",
            where=str(path),
            fix=f"name it '{wanted[0]}' or 'text'" + ("; or are the two files swapped?" if swapped else ""),
        )
    id_column, audio_column = _first(_IDS, known), _first(_AUDIO, known)
    if id_column is None and audio_column is None:
        raise UserError(
            f"no 'id' and no 'audio' column to match by; it has {', '.join(known)}",
            where=str(path),
            fix="add one, or score plain lines with --by-line",
        )
    speaker_column = _first(_SPEAKERS, known)
    other_column = _first([c for c in others if c != text_column], known)
    kept = [key for key in known if key not in _NOT_GROUPS]
    problems = Problems(f"{path} cannot be scored")
    found = []
    for line, record in records:
        audio = _audio(record, audio_column)
        name = _plain(record.get(id_column)) if id_column else audio
        text = record.get(text_column)
        if name is None or not name.strip():
            problems.add(f"line {line}: no {id_column or audio_column}")
            continue
        if text is not None and (isinstance(text, bool) or not isinstance(text, (str, int, float))):
            problems.add(f"line {line} ({name}): '{text_column}' is a {type(text).__name__}, not a text")
            continue
        if text is None and side == "reference":
            problems.add(f"line {line} ({name}): no '{text_column}'")
            continue
        other = _plain(record.get(other_column)) if other_column else None
        columns = {key: value for key in kept if (value := _plain(record.get(key))) is not None}
        speaker = columns.get(speaker_column) if speaker_column else None
        words, absent = ("", True) if text is None else (str(text), False)
        name = unicodedata.normalize("NFC", name.strip())
        found.append(Utterance(name, words, line, audio, speaker, other, columns, absent=absent))
    problems.raise_if_any()
    return TranscriptFile(path, format, require_utterances(path, found), column=text_column)


def _audio(record: Mapping[str, Any], column: str | None) -> str | None:
    """The audio as a name: the path, with `#start-end` where the row is a stretch of it, as `transcribe` names it."""
    value = record.get(column) if column else None
    if isinstance(value, dict):  # Hugging Face's audio column
        value = value.get("path")
    if value is None:
        return None
    start, end = record.get("start"), record.get("end")
    if record.get("offset") not in (None, ""):  # NeMo's name for a stretch's start, with its duration
        start, length = record["offset"], record.get("duration")
        end = end if length in (None, "") else _sum(start, length)
    if start in (None, "") and end in (None, ""):
        return str(value)
    return f"{value}#{_seconds(start) or 0}-{_seconds(end)}"


def _seconds(value: Any) -> str:
    """However it is written (0.50, .5), the same; what is no number stays."""
    try:
        return "" if value in (None, "") else f"{float(value):.10g}"
    except (TypeError, ValueError):
        return str(value)


def _sum(start: Any, length: Any) -> Any:
    try:
        return f"{float(start) + float(length):.10g}"
    except (TypeError, ValueError):
        return length


def _plain(value: Any) -> str | None:
    return None if value is None or isinstance(value, (dict, list)) else str(value)


def _first(names: Iterable[str], known: list[str]) -> str | None:
    return next((name for name in names if name in known), None)
