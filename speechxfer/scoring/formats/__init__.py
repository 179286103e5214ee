"""Transcript files: detecting their format and reading their utterances.

| format | suffix | speakers |
|---|---|---|
| csv, tsv | .csv, .tsv | column `speaker` |
| jsonl (keys of this toolkit, of Hugging Face and of NeMo) | .jsonl, .json, .ndjson, .manifest | key `speaker` |
| trn (`text (speaker-utterance)`) | .trn | from the id |
| stm | .stm | third field |
| ctm (split by the segments of an stm) | .ctm | |
| kaldi (`id text`) | none, or `text` | `utt2spk` in the same folder |
| lines (no ids) | only with `--by-line` | |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from speechxfer.errors import UserError, suggest_nearest
from speechxfer.scoring.formats.lines import read_kaldi_text, read_lines
from speechxfer.scoring.formats.nist import read_ctm, read_stm, read_trn
from speechxfer.scoring.formats.tables import NO_COLUMNS, read_table_transcript
from speechxfer.scoring.formats.text_columns import TableSide
from speechxfer.scoring.formats.transcript import Side, TranscriptFile, Utterance

TABLE_FORMATS = ("csv", "tsv", "jsonl")
_READERS: dict[str, Callable[[Path, Side], TranscriptFile]] = {
    "trn": read_trn,
    "stm": read_stm,
    "ctm": read_ctm,
    "kaldi": read_kaldi_text,
    "lines": read_lines,
}
TRANSCRIPT_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".manifest": "jsonl",
    ".trn": "trn",
    ".stm": "stm",
    ".ctm": "ctm",
    "": "kaldi",
}
TRANSCRIPT_FORMATS = (*TABLE_FORMATS, *_READERS)

__all__ = [
    "TABLE_FORMATS",
    "TRANSCRIPT_FORMATS",
    "TRANSCRIPT_SUFFIXES",
    "Side",
    "TranscriptFile",
    "Utterance",
    "detect_transcript_format",
    "read_transcript",
]


def detect_transcript_format(path: Path) -> str:
    """Return the format of a file by its suffix. Raises UserError for an unknown suffix."""
    known = TRANSCRIPT_SUFFIXES.get(path.suffix.lower())
    if known is None:
        plain = path.suffix.lower() in (".txt", ".ref", ".hyp")
        hint = "--by-line for one utterance per line, or --format kaldi for `id text`" if plain else "--format"
        raise UserError(
            f"unknown suffix '{path.suffix}'",
            where=str(path),
            fix=f"set {hint} (one of {', '.join(TRANSCRIPT_FORMATS)})",
        )
    return known


def read_transcript(
    path: Path, side: TableSide, name: str | None = None, columns: Mapping[str, str] = NO_COLUMNS
) -> TranscriptFile:
    """Read the utterances of a file, NFC-normalised.

    Args:
        side: decides which column of a table is the text; "both" for a table that is scored by itself.
        name: the format (default: by the suffix).
        columns: kind of column to its name, in a table.

    Raises:
        UserError: naming file and line, for anything that does not follow the format.
    """
    if name is not None and name not in TRANSCRIPT_FORMATS:
        raise UserError(
            f"unknown format '{name}'{suggest_nearest(name, TRANSCRIPT_FORMATS)}",
            fix=f"use one of {', '.join(TRANSCRIPT_FORMATS)}",
        )
    if path.is_dir():
        raise UserError("is a folder, not a transcript file", where=str(path))
    if not path.is_file():
        raise UserError("no such file", where=str(path))
    format = name or detect_transcript_format(path)
    if format in TABLE_FORMATS:
        return read_table_transcript(path, side, columns, format=format)
    return _READERS[format](path, "reference" if side == "both" else side)
