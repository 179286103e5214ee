"""Match references and hypotheses by utterance id. Ids without a match are errors that name them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechxfer.errors import Problems, UserError, suggest_nearest
from speechxfer.scoring.formats import (
    TABLE_FORMATS,
    TRANSCRIPT_FORMATS,
    Side,
    TranscriptFile,
    Utterance,
    detect_transcript_format,
    read_transcript,
)
from speechxfer.scoring.formats.lines import read_utt2spk
from speechxfer.scoring.formats.segments import join_by_channel, reduce_to_span, split_by_segments
from speechxfer.scoring.formats.tables import NO_COLUMNS
from speechxfer.scoring.formats.transcript import require_utterances
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.notation import Notation
from speechxfer.tables import COLUMN_ROLES

MISSING_POLICIES = ("error", "empty", "skip")
REDUCED_SIDES: dict[str, tuple[Side, ...]] = {
    "ref": ("reference",),
    "hyp": ("hypothesis",),
    "both": ("reference", "hypothesis"),
}
_MAX_NAMES = 10  # ids listed in a message


@dataclass(frozen=True)
class MatchedTranscripts:
    """One system's hypotheses with their references, in the order of the references.

    Attributes:
        path: file of the hypotheses.
        audio: audio file by id, if known.
        missing: ids of references without a hypothesis.
        notes: warnings for the user.
    """

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
        return [_match(left, right, name, missing, sides) for right, name in zip(rights, names, strict=True)]


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
    _check_duplicates(found)
    without = [u for u in found.utterances if u.other is None]
    if without:
        raise UserError(
            f"{len(without)} of {len(found.utterances)} rows have no reference, the first on line {without[0].line}",
            where=str(path),
            fix="give a file of references too: speechxfer score REF HYP",
        )
    if notation:
        _check_braces(path, ((u.line, u.id, text or "") for u in found.utterances for text in (u.other, u.text)))
    lacking = [u for u in found.utterances if u.absent]
    notes = _report_missing(lacking, len(found.utterances), path, missing)
    pairs = [(u._replace(text=u.other or ""), u) for u in found.utterances if not u.absent or missing == "empty"]
    return _make_transcripts(path.name, path, pairs, [u.id for u in lacking], notes)


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
    _check_duplicates(found)
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
        problem = f"--utt2spk has no speaker for {_format_names(lacking)}"
        raise UserError(problem, where=str(transcript.path), fix="add a line `utterance-id speaker-id` for each")
    return replace(transcript, utterances=[u._replace(speaker=speakers[u.id]) for u in transcript.utterances])


def _check_duplicates(transcript: TranscriptFile) -> None:
    if len({u.id for u in transcript.utterances}) == len(transcript.utterances):
        return
    lines: dict[str, int] = {}
    for u in transcript.utterances:
        if u.id in lines:
            raise UserError(
                f"duplicate id '{u.id}' on lines {lines[u.id]} and {u.line}",
                where=str(transcript.path),
                fix="give each utterance its own id",
            )
        lines[u.id] = u.line


def _match(
    left: TranscriptFile, right: TranscriptFile, name: str, missing: str, sides: Collection[Side]
) -> MatchedTranscripts:
    """Match the utterances of two files, after leaving out what the other does not cover on the `sides` to reduce."""
    notes: list[str] = []
    if left.format == "stm" and right.format == "ctm":
        right, left, notes = reduce_to_span(right, left, sides)
        right = split_by_segments(right, left)
    if left.format == right.format == "lines" and len(left.utterances) != len(right.utterances):
        raise UserError(
            f"{left.path} has {len(left.utterances)} lines but {right.path} has {len(right.utterances)}",
            fix="use a format with ids, so that a missing line cannot shift the others",
        )
    left, right = _match_by_audio(left, right)
    right, case_notes = _match_case(left, right)
    left, right, id_notes = _reduce_to_ids(left, right, sides)
    _check_duplicates(left)
    _check_duplicates(right)
    _check_known_ids(left, right)
    found = {u.id: u for u in right.utterances if not u.absent}
    lacking = [u for u in left.utterances if u.id not in found]
    notes += case_notes + id_notes
    notes += _report_missing(lacking, len(left.utterances), right.path, missing)
    notes += _find_mismatch_warnings(left, right)
    kept = [u for u in left.utterances if u.id in found or missing == "empty"]
    pairs = [(u, found.get(u.id, Utterance(u.id, "", 0))) for u in kept]
    return _make_transcripts(name, right.path, pairs, [u.id for u in lacking], notes)


def _match_case(left: TranscriptFile, right: TranscriptFile) -> tuple[TranscriptFile, list[str]]:
    """Write hypothesis ids as in the reference where only the case differs, as sclite ignores it, with a note."""
    known = {u.id for u in (*left.utterances, *left.ignored)}
    if all(u.id in known for u in right.utterances):
        return right, []
    left_cases, right_cases = (
        Counter(name.lower() for name in ids) for ids in (known, [u.id for u in right.utterances])
    )
    spelling = {n.lower(): n for n in known if left_cases[n.lower()] == right_cases[n.lower()] == 1}
    utterances = [u._replace(id=spelling.get(u.id.lower(), u.id)) for u in right.utterances]
    changed = [old.id for old, new in zip(right.utterances, utterances, strict=True) if old.id != new.id]
    if not changed:
        return right, []
    note = f"ids of {right.path.name} differ in case from those of {left.path.name}: {_format_names(changed)}"
    return replace(right, utterances=utterances), [note]


def _reduce_to_ids(
    left: TranscriptFile, right: TranscriptFile, sides: Collection[Side]
) -> tuple[TranscriptFile, TranscriptFile, list[str]]:
    """Leave out hypotheses of ignored segments and, on the `sides` to reduce, ids that the other file lacks."""
    if left.ignored:
        ignored = {u.id for u in left.ignored}
        right = replace(right, utterances=[u for u in right.utterances if u.id not in ignored])
    if not sides:
        return left, right, []
    in_left, in_right = {u.id for u in left.utterances}, {u.id for u in right.utterances}
    notes = []
    if "reference" in sides and in_left - in_right:
        left = replace(left, utterances=[u for u in left.utterances if u.id in in_right])
        notes.append(f"{len(in_left - in_right):,} references that are not in {right.path.name} are left out")
    if "hypothesis" in sides and in_right - in_left:
        right = replace(right, utterances=[u for u in right.utterances if u.id in in_left])
        notes.append(f"{len(in_right - in_left):,} hypotheses that are not in {left.path.name} are left out")
    if not left.utterances:
        fix = "use the same ids, or times, in both files"
        raise UserError(f"nothing is left of {left.path} within {right.path}", fix=fix)
    return left, right, notes


def _check_known_ids(left: TranscriptFile, right: TranscriptFile) -> None:
    """Raise UserError for hypotheses whose id is not in the reference."""
    known = {u.id for u in left.utterances}
    extra = [u for u in right.utterances if u.id not in known]
    if extra and len(extra) == len(right.utterances):
        raise UserError(
            f"{left.path} and {right.path} have no id in common: the first has '{left.utterances[0].id}', the second "
            f"'{right.utterances[0].id}'",
            fix="use the same ids in both files",
        )
    if extra:
        raise UserError(
            f"not in {left.path}: {_format_names([f'{u.id} (line {u.line})' for u in extra])}",
            where=str(right.path),
            fix="remove them, or add their references",
        )


def _find_mismatch_warnings(left: TranscriptFile, right: TranscriptFile) -> list[str]:
    """Return warnings about swapped files, and about references that differ between the two files."""
    notes = []
    if any(u.other is not None for u in left.utterances) and right.column in COLUMN_ROLES["text"]:
        notes.append(
            f"{right.path.name} has no column of hypotheses ('{right.column}' is used), but {left.path.name} has one: "
            "check that the two files are not swapped"
        )
    texts = {u.id: u.text.strip() for u in left.utterances}
    differing = [u.id for u in right.utterances if u.other is not None and u.other.strip() != texts[u.id]]
    if differing:
        names = _format_names(differing)
        notes.append(
            f"the references of {right.path.name} differ from those of {left.path.name}, which are used, for {names}"
        )
    return notes


def _report_missing(lacking: list[Utterance], total: int, path: Path, missing: str) -> list[str]:
    """Return a warning about utterances without a hypothesis. Raises UserError with the policy "error"."""
    if not lacking:
        return []
    names = _format_names([u.id for u in lacking])
    if missing == "error":
        raise UserError(
            f"{len(lacking)} of {total} utterances have no hypothesis: {names}",
            where=str(path),
            fix="set --missing empty to count their words as deleted, or --missing skip to leave them out",
        )
    treatment = "scored as empty" if missing == "empty" else "left out"
    some = "1 utterance" if len(lacking) == 1 else f"{len(lacking)} utterances"
    return [f"{some} without a hypothesis {treatment}: {names}"]


def _match_by_audio(left: TranscriptFile, right: TranscriptFile) -> tuple[TranscriptFile, TranscriptFile]:
    """Use the audio as id in both tables if one has ids and the other only audio."""
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


def _make_transcripts(
    name: str, path: Path, pairs: list[tuple[Utterance, Utterance]], missing: list[str], notes: list[str]
) -> MatchedTranscripts:
    speakers = [r.speaker or h.speaker for r, h in pairs]
    keys = dict.fromkeys(key for pair in pairs for u in pair if u.columns for key in u.columns)
    columns = {key: [r.columns.get(key, h.columns.get(key)) for r, h in pairs] for key in keys}
    return MatchedTranscripts(
        name=name,
        path=path,
        ids=[r.id for r, _ in pairs],
        references=[r.text for r, _ in pairs],
        hypotheses=[h.text for _, h in pairs],
        speakers=speakers if any(speakers) else None,
        columns=columns,
        audio={r.id: audio for r, h in pairs if (audio := r.audio or h.audio)},
        missing=missing,
        notes=notes,
    )


def _format_names(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _MAX_NAMES} more" if len(shown) > _MAX_NAMES else ""
    return ", ".join(shown[:_MAX_NAMES]) + more
