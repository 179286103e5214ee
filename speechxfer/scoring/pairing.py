"""References and hypotheses meet by id, never by order; whatever does not meet is an error that names it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from speechxfer.errors import Problems, UserError, suggest_nearest
from speechxfer.scoring.formats import (
    TRANSCRIPT_FORMATS,
    TranscriptFile,
    Utterance,
    detect_transcript_format,
    read_transcript,
)
from speechxfer.scoring.formats.lines import read_utt2spk
from speechxfer.scoring.formats.nist import split_by_segments
from speechxfer.scoring.formats.tables import TEXT_COLUMNS
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.notation import parse_notation

MissingPolicy = Literal["error", "empty", "skip"]
MISSING_POLICIES = ("error", "empty", "skip")
_SHOWN = 10  # names in a message


@dataclass(frozen=True)
class MatchedTranscripts:
    """One system's utterances beside their references, in the references' order. path: of its hypotheses.
    missing: references without one."""

    name: str
    path: Path
    ids: list[str]
    references: list[str]
    hypotheses: list[str]
    speakers: list[str | None] | None
    columns: dict[str, list[str | None]]
    audio: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_pairs(
    reference: Path,
    hypotheses: list[Path],
    *,
    format: str | None = None,
    missing: str = "error",
    utt2spk: Path | None = None,
    notation: bool = False,
) -> list[MatchedTranscripts]:
    """Read a reference and one or more hypotheses, or one file (`list_hypotheses` empty) that holds both.

    Where every file holds both (as `evaluate` and `adapt` write them), the first one's hypotheses are a system too.
    format: of all files but stm and ctm; `csv,kaldi` of the reference, then the hypotheses; None: by their suffixes.
    notation: references are in sclite's notation, and are looked through for braces that do not pair.

    Raises UserError naming the ids (and lines) that are duplicate, missing or not in the reference.
    """
    if missing not in MISSING_POLICIES:
        raise UserError(
            f"--missing {missing}{suggest_nearest(missing, MISSING_POLICIES)}",
            fix=f"one of {', '.join(MISSING_POLICIES)}",
        )
    files = [reference, *hypotheses]
    for i, path in enumerate(files):
        if any(path == other or _is_same_file(path, other) for other in files[:i]):
            raise UserError("the same file is given twice", where=str(path), fix="give a reference and its hypotheses")
    speakers = read_utt2spk(utt2spk) if utt2spk is not None else None
    formats = _split_format(format)
    with pause_gc():
        if not hypotheses:
            return [_one_file(reference, formats[0], speakers, missing, notation)]
        left = _with_speakers(read_transcript(reference, "reference", _format(reference, formats[0])), speakers)
        _no_duplicates(left)
        if notation:
            _check_braces(left.path, ((u.line, u.id, u.text) for u in left.utterances))
        rights = [_hypothesis(path, formats[1], left) for path in hypotheses]
        if all(u.other is not None for t in (left, *rights) for u in t.utterances):
            own = [u._replace(text=u.other or "", other=u.text) for u in left.utterances]
            rights = [replace(left, utterances=own, column=None), *rights]
        names = _distinct_names([right.path for right in rights])
        return [_match_by_id(left, right, name, missing) for right, name in zip(rights, names, strict=True)]


def _is_same_file(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _split_format(format: str | None) -> tuple[str | None, str | None]:
    """`--format` of the reference and of the hypotheses."""
    names = [name.strip() for name in format.split(",")] if format else []
    if len(names) > 2:
        raise UserError(f"--format {format}", fix="one for all files, or two: the reference's, the hypotheses'")
    return (names[0], names[-1]) if names else (None, None)


def _format(path: Path, chosen: str | None) -> str | None:
    return chosen if chosen is None or path.suffix not in (".stm", ".ctm") else None


def _distinct_names(paths: list[Path]) -> list[str]:
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _one_file(
    path: Path, format: str | None, speakers: dict[str, str] | None, missing: str, notation: bool
) -> MatchedTranscripts:
    chosen = format or detect_transcript_format(path)
    if chosen in TRANSCRIPT_FORMATS and chosen not in ("csv", "tsv", "jsonl"):
        raise UserError(f"a {chosen} file holds one side only", where=str(path), fix="speechxfer score REF HYP")
    found = _with_speakers(read_transcript(path, "hypothesis", chosen), speakers)
    _no_duplicates(found)
    without = [u for u in found.utterances if u.other is None]
    if without:
        raise UserError(
            f"{len(without)} of {len(found.utterances)} rows have no reference, the first on line {without[0].line}",
            where=str(path),
            fix="give the references too: speechxfer score REF HYP",
        )
    if notation:
        _check_braces(path, ((u.line, u.id, u.other or "") for u in found.utterances))
    lacking = [u for u in found.utterances if u.absent]
    notes = _report_missing(lacking, len(found.utterances), path, missing)
    met = [(u._replace(text=u.other or ""), u) for u in found.utterances if not u.absent or missing == "empty"]
    return _pairs(path.name, path, met, [u.id for u in lacking], notes)


def _check_braces(path: Path, references: Iterable[tuple[int, str, str]]) -> None:
    problems = Problems(f"{path} cannot be read in sclite's notation", fix="alternatives are: { a lot / alot / @ }")
    for line, name, text in references:
        if "{" in text or "}" in text:
            try:
                parse_notation(text, str)
            except UserError as error:
                problems.add(f"line {line} ({name}): {error.problem}")
    problems.raise_if_any()


def _hypothesis(path: Path, format: str | None, reference: TranscriptFile) -> TranscriptFile:
    found = read_transcript(path, "hypothesis", _format(path, format))
    if found.format == "ctm":
        if reference.format != "stm":
            raise UserError(
                "a ctm has times but no utterances; they come from an stm reference",
                where=str(path),
                fix=f"give {reference.path.name} as stm",
            )
        return split_by_segments(found, reference)
    return found


def _with_speakers(transcript: TranscriptFile, speakers: dict[str, str] | None) -> TranscriptFile:
    if speakers is None:
        return transcript
    lacking = [u.id for u in transcript.utterances if u.id not in speakers]
    if lacking:
        problem = f"--utt2spk has no speaker for {_format_names(lacking)}"
        raise UserError(problem, where=str(transcript.path), fix="give a line `utterance-id speaker-id` to each")
    return replace(transcript, utterances=[u._replace(speaker=speakers[u.id]) for u in transcript.utterances])


def _no_duplicates(transcript: TranscriptFile) -> None:
    if len({u.id for u in transcript.utterances}) == len(transcript.utterances):
        return
    lines: dict[str, int] = {}
    for u in transcript.utterances:
        if u.id in lines:
            raise UserError(
                f"utterance '{u.id}' stands twice, on lines {lines[u.id]} and {u.line}",
                where=str(transcript.path),
                fix="give every utterance its own id",
            )
        lines[u.id] = u.line


def _match_by_id(left: TranscriptFile, right: TranscriptFile, name: str, missing: str) -> MatchedTranscripts:
    if left.format == right.format == "lines" and len(left.utterances) != len(right.utterances):
        raise UserError(
            f"{len(left.utterances)} lines in {left.path}, {len(right.utterances)} in {right.path}: they must agree",
            fix="use a format with ids, so that no line can shift the others",
        )
    left, right = _match_by_audio(left, right)
    _no_duplicates(left)
    _no_duplicates(right)
    said = {u.id: u for u in right.utterances if not u.absent}
    known = {u.id: u for u in left.utterances}
    extra = [u for u in right.utterances if u.id not in known]
    lacking = [u for u in left.utterances if u.id not in said]
    if len(extra) == len(right.utterances):
        raise UserError(
            f"no id of {left.path} is in {right.path}: it has '{left.utterances[0].id}' where the other has "
            f"'{right.utterances[0].id}'",
            fix="both files must name utterances alike",
        )
    if extra:
        raise UserError(
            f"not in {left.path}: {_format_names([f'{u.id} (line {u.line})' for u in extra])}",
            where=str(right.path),
            fix="remove them, or add their references",
        )
    notes = _report_missing(lacking, len(left.utterances), right.path, missing)
    met = [(u, said.get(u.id, Utterance(u.id, "", 0))) for u in left.utterances if u.id in said or missing == "empty"]
    if any(u.other is not None for u in left.utterances) and right.column in TEXT_COLUMNS:
        notes.append(
            f"{right.path.name} has no column of hypotheses (its '{right.column}' is taken), {left.path.name} has one: "
            "are the two files swapped?"
        )
    others = [u.id for u in right.utterances if u.other is not None and u.other.strip() != known[u.id].text.strip()]
    if others:
        notes.append(
            f"{right.path.name} has other references than {left.path.name}, whose are taken, for {_format_names(others)}"
        )
    return _pairs(name, right.path, met, [u.id for u in lacking], notes)


def _report_missing(lacking: list[Utterance], of: int, path: Path, missing: str) -> list[str]:
    """What is said of utterances without a hypothesis, an error where it was not asked for otherwise."""
    if not lacking:
        return []
    names = _format_names([u.id for u in lacking])
    if missing == "error":
        raise UserError(
            f"{len(lacking)} of {of} have no hypothesis: {names}",
            where=str(path),
            fix="--missing empty counts their words as deleted; --missing skip leaves them out; both are reported",
        )
    what = "scored as empty" if missing == "empty" else "left out"
    some = "1 utterance" if len(lacking) == 1 else f"{len(lacking)} utterances"
    return [f"{some} without a hypothesis {what}: {names}"]


def _match_by_audio(left: TranscriptFile, right: TranscriptFile) -> tuple[TranscriptFile, TranscriptFile]:
    """Where one table has ids and the other only audio, both are matched by audio."""
    known = {u.id for u in left.utterances}
    if any(u.id in known for u in right.utterances):
        return left, right
    audio = [{u.audio for u in t.utterances} for t in (left, right)]
    if None in audio[0] | audio[1] or not audio[0] & audio[1]:
        return left, right
    return (
        replace(left, utterances=[u._replace(id=str(u.audio)) for u in left.utterances]),
        replace(right, utterances=[u._replace(id=str(u.audio)) for u in right.utterances]),
    )


def _pairs(
    name: str, path: Path, met: list[tuple[Utterance, Utterance]], missing: list[str], notes: list[str]
) -> MatchedTranscripts:
    speakers = [r.speaker or h.speaker for r, h in met]
    keys = dict.fromkeys(key for pair in met for u in pair if u.columns for key in u.columns)
    columns = {key: [r.columns.get(key, h.columns.get(key)) for r, h in met] for key in keys}
    return MatchedTranscripts(
        name=name,
        path=path,
        ids=[r.id for r, _ in met],
        references=[r.text for r, _ in met],
        hypotheses=[h.text for _, h in met],
        speakers=speakers if any(speakers) else None,
        columns=columns,
        audio={r.id: heard for r, h in met if (heard := r.audio or h.audio)},
        missing=missing,
        notes=notes,
    )


def _format_names(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
