"""Transcripts as files: which format a file is in, and its utterances.

| format | by suffix | speakers |
|---|---|---|
| csv, tsv | .csv, .tsv | column `speaker` |
| jsonl (ours, Hugging Face's, NeMo's keys) | .jsonl, .json, .ndjson, .manifest | key `speaker` |
| trn (`text (speaker-utterance)`) | .trn | from the id |
| stm | .stm | third field |
| ctm (cut by the segments of an stm) | .ctm | |
| kaldi (`id text`) | none, or `text` | `utt2spk` beside it |
| lines (no ids) | with `--by-line` only | |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speechxfer.errors import UserError, suggest_nearest
from speechxfer.scoring.formats.lines import read_kaldi_text, read_lines
from speechxfer.scoring.formats.nist import read_ctm, read_stm, read_trn
from speechxfer.scoring.formats.tables import read_csv, read_jsonl, read_tsv
from speechxfer.scoring.formats.transcript import Side, TranscriptFile, Utterance

_READERS: dict[str, Callable[[Path, Side], TranscriptFile]] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
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
TRANSCRIPT_FORMATS = tuple(_READERS)

__all__ = [
    "TRANSCRIPT_FORMATS",
    "TRANSCRIPT_SUFFIXES",
    "Side",
    "TranscriptFile",
    "Utterance",
    "detect_transcript_format",
    "read_transcript",
]


def detect_transcript_format(path: Path) -> str:
    """The format that a file's suffix tells. Raises UserError where it tells none."""
    known = TRANSCRIPT_SUFFIXES.get(path.suffix.lower())
    if known is None:
        plain = path.suffix.lower() in (".txt", ".ref", ".hyp")
        hint = "--by-line for one utterance a line, or --format kaldi for `id text`" if plain else "--format"
        raise UserError(
            f"no format is known by the suffix '{path.suffix}'",
            where=str(path),
            fix=f"say {hint} (one of {', '.join(TRANSCRIPT_FORMATS)})",
        )
    return known


def read_transcript(path: Path, side: Side, name: str | None = None) -> TranscriptFile:
    """The utterances of a file, NFC. `side` decides which column of a table is the text; `name` overrides the suffix.

    Raises UserError naming file and line for anything that cannot be read as the format says.
    """
    if name is not None and name not in _READERS:
        raise UserError(
            f"no format named '{name}'{suggest_nearest(name, TRANSCRIPT_FORMATS)}",
            fix=f"one of {', '.join(TRANSCRIPT_FORMATS)}",
        )
    if path.is_dir():
        raise UserError("a folder, not a file of transcripts", where=str(path))
    if not path.is_file():
        raise UserError("no such file", where=str(path))
    return _READERS[name or detect_transcript_format(path)](path, side)
