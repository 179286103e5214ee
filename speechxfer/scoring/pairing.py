"""Read references and hypotheses, and match them by utterance id."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from speechxfer.errors import Problems, UserError, suggest_nearest
from speechxfer.scoring.formats import (
    TABLE_FORMATS,
    TRANSCRIPT_FORMATS,
    Side,
    TranscriptFile,
    detect_transcript_format,
    read_transcript,
)
from speechxfer.scoring.formats.lines import read_utt2spk
from speechxfer.scoring.formats.segments import join_by_channel
from speechxfer.scoring.formats.tables import NO_COLUMNS
from speechxfer.scoring.formats.transcript import require_utterances
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.matching import (
    MatchedTranscripts,
    check_duplicates,
    format_names,
    make_transcripts,
    match_transcripts,
    name_columns,
    report_missing,
)
from speechxfer.scoring.notation import Notation

__all__ = ["MISSING_POLICIES", "REDUCED_SIDES", "MatchedTranscripts", "read_pairs"]

MISSING_POLICIES = ("error", "empty", "skip")
REDUCED_SIDES: dict[str, tuple[Side, ...]] = {
    "ref": ("reference",),
    "hyp": ("hypothesis",),
    "both": ("reference", "hypothesis"),
}


def read_pairs(
    reference: Path,
    hypotheses: list[Path],
    *,
    format: str | None = None,
    missing: str = "error",
    utt2spk: Path | None = None,
    notation: bool = False,
    reduce: str | None = None,
    columns: Mapping[str, str] = NO_COLUMNS,
) -> list[MatchedTranscripts]:
    """Read a reference and one or more hypothesis files, or one file (`hypotheses` empty) that contains both.

    If every file contains both sides (as written by `evaluate` and `adapt`), the first file's hypotheses are a system
    too.

    Args:
        format: format of all files except stm and ctm; `csv,kaldi`: the reference's, then the hypotheses' (default: by
            the suffixes).
        missing: treatment of references without a hypothesis: "error", "empty" or "skip".
        utt2spk: a Kaldi file of speakers.
        notation: texts are in sclite's notation, and their braces are checked.
        reduce: leave out what the other file does not cover, as sclite's `-m`: "ref" leaves out references, "hyp"
            hypotheses, "both" both. A ctm and an stm are reduced to the time span of the other file, other formats to
            the ids of the other file.
        columns: kind of column (reference, hypothesis, id, speaker, ...) to its name, in tables.

    Raises:
        UserError: naming the ids (and lines) that are duplicate, missing or not in the reference.
    """
    _check_choice("--missing", missing, MISSING_POLICIES)
    _check_choice("--reduce", reduce or "ref", REDUCED_SIDES)
    files = [reference, *hypotheses]
    for i, path in enumerate(files):
        if any(path == other or _is_same_file(path, other) for other in files[:i]):
            raise UserError("the same file is given twice", where=str(path), fix="give a reference and its hypotheses")
    speakers = read_utt2spk(utt2spk) if utt2spk is not None else None
    formats = _split_format(format)
    with pause_gc():
        if not hypotheses:
            return [_read_single(reference, formats[0], speakers, missing, notation, columns)]
        left = _read_reference(reference, formats[0], speakers, notation, _keep(columns, "hypothesis"))
        own = _keep(columns, "reference")
        rights = [_read_hypothesis(path, formats[1], left, notation, own) for path in hypotheses]
        if all(u.other is not None for t in (left, *rights) for u in t.utterances):
            swapped = [u._replace(text=u.other or "", other=u.text) for u in left.utterances]
            rights = [replace(left, utterances=swapped, column=left.other_column, other_column=left.column), *rights]
        names = _make_unique_names([right.path for right in rights])
        sides = REDUCED_SIDES[reduce] if reduce else ()
        return [match_transcripts(left, right, name, missing, sides) for right, name in zip(rights, names, strict=True)]


def _check_choice(option: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        problem = f"unknown value {option} {value}{suggest_nearest(value, known)}"
        raise UserError(problem, fix=f"use one of {', '.join(known)}")


def _keep(columns: Mapping[str, str], other_side: str) -> dict[str, str]:
    """Leave out the choice of the other side's column, which this side's file may lack."""
    return {kind: name for kind, name in columns.items() if kind != other_side}


def _is_same_file(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _split_format(format: str | None) -> tuple[str | None, str | None]:
    """Split `--format` into the reference's and the hypotheses'."""
    names = [name.strip() for name in format.split(",")] if format else []
    if len(names) > 2:
        fix = "give one format for all files, or two: the reference's, the hypotheses'"
        raise UserError(f"--format {format} has {len(names)} formats", fix=fix)
    return (names[0], names[-1]) if names else (None, None)


def _choose_format(path: Path, chosen: str | None) -> str | None:
    return chosen if chosen is None or path.suffix not in (".stm", ".ctm") else None


def _make_unique_names(paths: list[Path]) -> list[str]:
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _read_single(
    path: Path,
    format: str | None,
    speakers: dict[str, str] | None,
    missing: str,
    notation: bool,
    columns: Mapping[str, str],
) -> MatchedTranscripts:
    chosen = format or detect_transcript_format(path)
    if chosen in TRANSCRIPT_FORMATS and chosen not in TABLE_FORMATS:
        raise UserError(f"a {chosen} file has one side only", where=str(path), fix="speechxfer score REF HYP")
    found = _set_speakers(read_transcript(path, "both", chosen, columns), speakers)
    check_duplicates(found)
    without = [u for u in found.utterances if u.other is None]
    if without:
        raise UserError(
            f"{len(without)} of {len(found.utterances)} rows have no reference, the first on line {without[0].line}",
            where=str(path),
            fix='write "" where nothing is said, or give a file of references too: speechxfer score REF HYP',
        )
    if notation:
        _check_braces(path, ((u.line, u.id, text or "") for u in found.utterances for text in (u.other, u.text)))
    lacking = [u for u in found.utterances if u.absent]
    notes = report_missing(lacking, len(found.utterances), path, missing)
    pairs = [(u._replace(text=u.other or ""), u) for u in found.utterances if not u.absent or missing == "empty"]
    matched = make_transcripts(path.name, path, pairs, [u.id for u in lacking], notes)
    return replace(matched, columns_read=name_columns(found.other_column, found.column))


def _check_braces(path: Path, texts: Iterable[tuple[int, str, str]]) -> None:
    problems = Problems(f"{path} is not valid in sclite's notation", fix="write alternatives as { a lot / alot / @ }")
    for line, name, text in texts:
        if "{" in text or "}" in text:
            try:
                Notation().parse(text, str)
            except UserError as error:
                problems.add(f"line {line} ({name}): {error.problem}")
    problems.raise_if_any()


def _read_reference(
    path: Path, format: str | None, speakers: dict[str, str] | None, notation: bool, columns: Mapping[str, str]
) -> TranscriptFile:
    found = read_transcript(path, "reference", _choose_format(path, format), columns)
    if found.format == "ctm":
        found = join_by_channel(found)
        require_utterances(path, found.utterances)
    found = _set_speakers(found, speakers)
    check_duplicates(found)
    _check_notation(found, notation)
    return found


def _read_hypothesis(
    path: Path, format: str | None, reference: TranscriptFile, notation: bool, columns: Mapping[str, str]
) -> TranscriptFile:
    found = read_transcript(path, "hypothesis", _choose_format(path, format), columns)
    if found.format == "ctm" and reference.format not in ("stm", "ctm"):
        raise UserError(
            "a ctm file has times but no utterances: its reference must be an stm or ctm file",
            where=str(path),
            fix=f"convert {reference.path.name} to stm",
        )
    if reference.format == "ctm" and found.format in ("stm", "ctm"):
        found = join_by_channel(found)
    _check_notation(found, notation)
    return found


def _check_notation(transcript: TranscriptFile, notation: bool) -> None:
    """Check the braces of texts in sclite's notation. Raises UserError for alternatives of a ctm if it is not read."""
    if notation:
        words = ((word.line, word.recording, word.word) for word in transcript.words if not word.has_alternatives)
        texts = [] if transcript.words else [(u.line, u.id, u.text) for u in transcript.utterances]
        _check_braces(transcript.path, (*words, *texts))
        return
    marked = [word for word in transcript.words if word.has_alternatives]
    if marked:
        problem = f"has alternatives (<ALT_BEGIN>), the first on line {marked[0].line}"
        raise UserError(problem, where=str(transcript.path), fix="add --notation to read them")


def _set_speakers(transcript: TranscriptFile, speakers: dict[str, str] | None) -> TranscriptFile:
    if speakers is None:
        return transcript
    lacking = [u.id for u in transcript.utterances if u.id not in speakers]
    if lacking:
        problem = f"--utt2spk has no speaker for {format_names(lacking)}"
        raise UserError(problem, where=str(transcript.path), fix="add a line `utterance-id speaker-id` for each")
    return replace(transcript, utterances=[u._replace(speaker=speakers[u.id]) for u in transcript.utterances])
