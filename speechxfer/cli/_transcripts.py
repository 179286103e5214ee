"""Transcripts as lines of JSON, CSV, text and subtitles, and a file of them that keeps what an interrupt left."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from speechxfer.errors import UserError, suggest_nearest

if TYPE_CHECKING:  # the model's modules import torch
    from speechxfer.models.transcript import Transcript


@dataclass
class Form:
    """A way to write transcripts: what stands first, and what each adds."""

    header: str
    write: Callable[[Transcript], str]


def json_lines(_: Sequence[str]) -> Form:
    return Form("", lambda one: json.dumps(one.to_json(), ensure_ascii=False) + "\n")


def comma_separated(columns: Sequence[str]) -> Form:
    """id, audio, hypothesis, and the columns. A file half heard has no row: nothing here would say so."""
    names = ["id", "audio", "hypothesis", *columns]

    def row(values: Sequence[Any]) -> str:
        text = io.StringIO()
        cells = [value if isinstance(value, str) else "" if value is None else str(value) for value in values]
        bare = any("\r" in cell for cell in cells)  # which csv would not quote
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL).writerow(cells)
        return text.getvalue()

    def write(one: Transcript) -> str:
        if not one.complete:
            return ""
        line = one.to_json()
        return row([line.get(name) for name in names])

    return Form(row(names), write)


def plain(single: bool, *, times: bool = False) -> Form:
    """A line an utterance, its name before it where there are several; of a `single` long file a line a cut.

    times: of each cut, before it.
    """

    def write(one: Transcript) -> str:
        if not single:
            return f"{one.audio if one.id == one.audio else one.id}\t{_line(one.text)}\n"
        if one.whole:
            return f"{_line(one.text)}\n"
        said = [segment for segment in one.segments if segment.text]
        return "".join(
            f"[{_clock(s.start)} - {_clock(s.end)}] {_line(s.text)}\n" if times else f"{_line(s.text)}\n" for s in said
        )

    return Form("", write)


def subrip(_: Sequence[str]) -> Form:
    """SubRip, one cue a cut."""

    def write(one: Transcript) -> str:
        cues = [segment for segment in one.segments if segment.text]
        return "".join(
            f"{number}\n{_stamp(s.start, ',')} --> {_stamp(s.end, ',')}\n{_line(s.text)}\n\n"
            for number, s in enumerate(cues, 1)
        )

    return Form("", write)


def webvtt(_: Sequence[str]) -> Form:
    """WebVTT (w3.org/TR/webvtt1), one cue a cut; & < > are escaped as its cue text asks."""

    def write(one: Transcript) -> str:
        return "".join(
            f"{_stamp(s.start, '.')} --> {_stamp(s.end, '.')}\n{_escaped(_line(s.text))}\n\n"
            for s in one.segments
            if s.text
        )

    return Form("WEBVTT\n\n", write)


SUBTITLES = {".srt": subrip, ".vtt": webvtt}
JSONL = (".jsonl", ".ndjson")
_FORMS = {**dict.fromkeys(JSONL, json_lines), ".csv": comma_separated, **SUBTITLES}
_SUFFIXES = (*_FORMS, ".txt")


def check_output(path: Path, named: Sequence[str], utterances: int) -> None:
    """Raise UserError, before any work, for a file that could not be written or must not be."""
    where, suffix = f"--output {path}", path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise UserError(
            f"'{path.suffix}' is no form of transcripts{suggest_nearest(suffix, _SUFFIXES)}",
            where=where,
            fix=f"end it in one of {', '.join(_SUFFIXES)}",
        )
    if path.is_dir():
        raise UserError("is a folder", where=where, fix="name a file in it")
    if path.exists() and any(Path(name).exists() and path.samefile(name) for name in named):
        raise UserError("is what shall be transcribed", where=where, fix="name another file")
    if suffix in SUBTITLES and utterances != 1:
        raise UserError(
            f"subtitles belong to one file, and there are {utterances:,}",
            where=where,
            fix="transcribe them one at a time, or write .jsonl",
        )


def form_of(path: Path, columns: Sequence[str], utterances: int) -> Form:
    """The form that the suffix asks for. columns: of the table; utterances: their number."""
    suffix = path.suffix.lower()
    return plain(utterances == 1) if suffix == ".txt" else _FORMS[suffix](columns)


class KeptFile:
    """Written as FILE.part, line by line, and renamed to FILE at the end.

    Whatever ends it early, what was finished is kept, and where is said: as FILE, or as FILE.part where an earlier FILE
    is there, which is left alone.
    """

    def __init__(self, path: Path, form: Form) -> None:
        self.path, self.form = path, form
        self.part = path.with_name(f"{path.name}.part")
        self.written = self.half_heard = 0

    def __enter__(self) -> KeptFile:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.part.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise UserError(f"cannot be written ({error.strerror})", where=f"--output {self.path}") from None
        self._put(self.form.header)
        return self

    def write(self, one: Transcript) -> None:
        text = self.form.write(one)
        self._put(text)
        self.written += bool(text)
        self.half_heard += bool(text) and not one.complete

    def _put(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot be written on ({error.strerror})", where=str(self.part)) from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._file.close()
        except OSError:  # a full disk: told already
            if error is None:
                raise
        if error is None:
            self.part.replace(self.path)
        elif not self.written:
            self.part.unlink()
        else:
            kept = self.part if self.path.exists() else self.part.replace(self.path)
            half = f", {self.half_heard} of them half heard" if self.half_heard else ""
            typer.echo(f"speechxfer: what was finished is kept in {kept} ({self.written:,} answered{half})", err=True)


def _line(text: str) -> str:
    return " ".join(text.split())


def _clock(seconds: float) -> str:
    """12:34.5, and 1:02:34.5 from an hour on."""
    tenths = round(seconds * 10)
    hours, minutes = divmod(tenths // 600, 60)
    rest = f"{minutes:02}:{tenths % 600 / 10:04.1f}"
    return f"{hours}:{rest}" if hours else rest


def _stamp(seconds: float, point: str) -> str:
    """01:02:34,567."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
