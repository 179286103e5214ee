"""Transcripts as JSON lines, CSV, plain text and subtitles, and an output file that survives an interruption."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from speechxfer.cli._echo import echo
from speechxfer.cli._outputs import check_output_files
from speechxfer.errors import UserError, suggest_nearest

if TYPE_CHECKING:  # the model's modules import torch
    from speechxfer.models.transcript import Transcript, TranscriptSegment

MAX_CUE_SECONDS = 7.0  # the longest that a subtitle should be shown


@dataclass
class TranscriptWriter:
    """A text format of transcripts: the header of the file, and a function that formats one transcript."""

    header: str
    write: Callable[[Transcript], str]


def make_jsonl_writer(_: Sequence[str]) -> TranscriptWriter:
    return TranscriptWriter("", lambda transcript: json.dumps(transcript.to_json(), ensure_ascii=False) + "\n")


def make_csv_writer(columns: Sequence[str]) -> TranscriptWriter:
    """CSV with id, audio, hypothesis and `columns`. Incomplete transcripts are left out: CSV cannot mark them."""
    names = ["id", "audio", "hypothesis", *columns]

    def format_row(values: Sequence[Any]) -> str:
        text = io.StringIO()
        cells = [value if isinstance(value, str) else "" if value is None else str(value) for value in values]
        has_return = any("\r" in cell for cell in cells)  # the csv module does not quote a lone carriage return
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL)
        writer.writerow(cells)
        return text.getvalue()

    def write(transcript: Transcript) -> str:
        if not transcript.complete:
            return ""
        values = transcript.to_json()
        return format_row([values.get(name) for name in names])

    return TranscriptWriter(format_row(names), write)


def make_plain_writer(single: bool, *, times: bool = False) -> TranscriptWriter:
    """Return a writer of plain text.

    Args:
        single: the output has one file's transcript: write a line per segment (one line for a `whole` transcript),
            without the file's name. Otherwise write `name<TAB>text` for each file.
        times: write the times before each segment of a single file.
    """

    def write(transcript: Transcript) -> str:
        if not single:
            name = transcript.audio if transcript.id == transcript.audio else transcript.id
            return f"{name}\t{_to_line(transcript.text)}\n"
        if transcript.whole:
            return f"{_to_line(transcript.text)}\n"
        return "".join(
            f"[{_format_clock(s.start)} - {_format_clock(s.end)}] {_to_line(s.text)}\n"
            if times
            else f"{_to_line(s.text)}\n"
            for s in transcript.segments
            if s.text
        )

    return TranscriptWriter("", write)


def make_srt_writer(_: Sequence[str]) -> TranscriptWriter:
    """Return a writer of SubRip, with the cues of `split_into_cues`."""

    def write(transcript: Transcript) -> str:
        cues = [cue for segment in transcript.segments for cue in split_into_cues(segment)]
        return "".join(
            f"{number}\n{_format_cue_time(start, ',')} --> {_format_cue_time(end, ',')}\n{text}\n\n"
            for number, (start, end, text) in enumerate(cues, 1)
        )

    return TranscriptWriter("", write)


def make_vtt_writer(_: Sequence[str]) -> TranscriptWriter:
    """Return a writer of WebVTT (w3.org/TR/webvtt1), with the cues of `split_into_cues`, escaped as it requires."""

    def write(transcript: Transcript) -> str:
        cues = [cue for segment in transcript.segments for cue in split_into_cues(segment)]
        return "".join(
            f"{_format_cue_time(start, '.')} --> {_format_cue_time(end, '.')}\n{_escape(text)}\n\n"
            for start, end, text in cues
        )

    return TranscriptWriter("WEBVTT\n\n", write)


def split_into_cues(segment: TranscriptSegment, max_seconds: float = MAX_CUE_SECONDS) -> list[tuple[float, float, str]]:
    """Split a segment into subtitles (start, end, text) of equal lengths up to `max_seconds`, at its words.

    A word is in the subtitle of its middle, by the words' times where they are known, else by its number of characters.
    """
    text = _to_line(segment.text)
    is_unspaced = all(east_asian_width(character) in "WF" for character in text)
    units, space = (list(text), "") if is_unspaced else (text.split(), " ")
    length = segment.end - segment.start
    num_cues = max(1, math.ceil(length / max_seconds))
    if segment.words is not None and len(segment.words) == len(units):
        middles = [((word.start + word.end) / 2 - segment.start) / length for word in segment.words]
    else:
        ends = list(itertools.accumulate(map(len, units)))
        middles = [(end - len(unit) / 2) / ends[-1] for unit, end in zip(units, ends, strict=True)]
    texts: list[list[str]] = [[] for _ in range(num_cues)]
    for unit, middle in zip(units, middles, strict=True):
        texts[min(num_cues - 1, max(0, int(middle * num_cues)))].append(unit)
    bounds = [segment.start + length * number / num_cues for number in range(num_cues + 1)]
    return [(bounds[k], bounds[k + 1], space.join(words)) for k, words in enumerate(texts) if words]


SUBTITLE_WRITERS = {".srt": make_srt_writer, ".vtt": make_vtt_writer}
JSONL_SUFFIXES = (".jsonl", ".ndjson")
_WRITERS = {**dict.fromkeys(JSONL_SUFFIXES, make_jsonl_writer), ".csv": make_csv_writer, **SUBTITLE_WRITERS}
_SUFFIXES = (*_WRITERS, ".txt")


def check_output_suffix(path: Path) -> None:
    """Raise UserError for a file name without the suffix of a transcript format."""
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise UserError(
            f"'{path.suffix}' is not a transcript format{suggest_nearest(suffix, _SUFFIXES)}",
            where=f"--output {path}",
            fix=f"use one of {', '.join(_SUFFIXES)}",
        )


def check_output(path: Path, inputs: Sequence[str], num_utterances: int, *, overwrite: bool) -> None:
    """Check the output file before any work.

    Raises:
        UserError: for an unknown suffix, a folder, one of `inputs`, an existing file unless `overwrite` is set, and
            subtitles of more than one utterance.
    """
    where, suffix = f"--output {path}", path.suffix.lower()
    check_output_suffix(path)
    check_output_files({"--output": path}, map(Path, inputs), overwrite=overwrite)
    if (part := _name_part(path)).exists():
        raise _make_part_error(part, where)
    if suffix in SUBTITLE_WRITERS and num_utterances != 1:
        raise UserError(
            f"subtitles need exactly one audio file, and there are {num_utterances:,}",
            where=where,
            fix="transcribe one file at a time, or write .jsonl",
        )


def make_writer(path: Path, columns: Sequence[str], num_utterances: int) -> TranscriptWriter:
    """Return the writer for the suffix of `path`. columns: further columns of the table, for CSV."""
    suffix = path.suffix.lower()
    return make_plain_writer(num_utterances == 1) if suffix == ".txt" else _WRITERS[suffix](columns)


class TranscriptOutput:
    """Writes FILE.part line by line and renames it to FILE at the end.

    After an error or an interruption the finished transcripts stay, and a message says where: in FILE, or in FILE.part
    if FILE existed before, which is then not changed.
    """

    def __init__(self, path: Path, writer: TranscriptWriter) -> None:
        self.path, self.writer = path, writer
        self.part = _name_part(path)
        self.num_written = self.num_incomplete = 0

    def __enter__(self) -> TranscriptOutput:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.part.open("x", encoding="utf-8", newline="")
        except OSError as error:
            if self.part.exists():
                raise _make_part_error(self.part, f"--output {self.path}") from None
            raise UserError(f"cannot be written ({error.strerror})", where=f"--output {self.path}") from None
        self._write_text(self.writer.header)
        return self

    def write(self, transcript: Transcript) -> None:
        text = self.writer.write(transcript)
        self._write_text(text)
        self.num_written += bool(text)
        self.num_incomplete += bool(text) and not transcript.complete

    def _write_text(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise UserError(f"writing failed ({error.strerror})", where=str(self.part)) from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._file.close()
        except OSError:  # a full disk, which `_write_text` has reported
            if error is None:
                raise
        if error is None:
            self.part.replace(self.path)
        elif not self.num_written:
            self.part.unlink()
        else:
            file = self.part if self.path.exists() else self.part.replace(self.path)
            incomplete = f", {self.num_incomplete} of them incomplete" if self.num_incomplete else ""
            message = f"finished transcripts are saved in {file} ({self.num_written:,} transcribed{incomplete})"
            echo(f"speechxfer: {message}", err=True)


def _name_part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _make_part_error(part: Path, where: str) -> UserError:
    """Return the error for a file of unfinished work: of a process that runs, of one that was killed, or the user's."""
    problem = f"{part} exists: another process is writing it, or an interrupted one left its finished transcripts there"
    return UserError(problem, where=where, fix="wait, or move that file, or name another file")


def _to_line(text: str) -> str:
    return " ".join(text.split())


def _format_clock(seconds: float) -> str:
    """Return e.g. 12:34.5, or 1:02:34.5 from an hour on."""
    tenths = round(seconds * 10)
    hours, minutes = divmod(tenths // 600, 60)
    rest = f"{minutes:02}:{tenths % 600 / 10:04.1f}"
    return f"{hours}:{rest}" if hours else rest


def _format_cue_time(seconds: float, point: str) -> str:
    """Return e.g. 01:02:34,567."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
