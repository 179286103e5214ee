"""Match references and hypotheses by utterance id. Ids without a match are errors that name them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechxfer.errors import UserError
from speechxfer.scoring.formats import Side, TranscriptFile, Utterance
from speechxfer.scoring.formats.nist import add_speaker
from speechxfer.scoring.formats.segments import reduce_to_span, split_by_segments
from speechxfer.tables import COLUMN_ROLES

_MAX_NAMES = 10  # ids listed in a message


@dataclass(frozen=True)
class MatchedTranscripts:
    """One system's hypotheses with their references, in the order of the references.

    Attributes:
        path: file of the hypotheses.
        audio: audio file by id, if known.
        missing: ids of references without a hypothesis.
        notes: warnings for the user.
        columns_read: by side ("reference", "hypothesis"), the column of a table that its texts were read from.
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
    columns_read: dict[str, str] = field(default_factory=dict)


def check_duplicates(transcript: TranscriptFile) -> None:
    """Raise UserError, naming both lines, for an id that occurs more than once."""
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


def match_transcripts(
    left: TranscriptFile, right: TranscriptFile, name: str, missing: str, sides: Collection[Side]
) -> MatchedTranscripts:
    """Match the utterances of a system with the references.

    Args:
        left: the references.
        right: the hypotheses.
        name: the system's.
        missing: treatment of references without a hypothesis: "error", "empty" or "skip".
        sides: those of which is left out what the other file does not cover.

    Raises:
        UserError: naming the ids (and lines) that are duplicate, missing or not in the reference.
    """
    notes: list[str] = []
    if left.format == "stm" and right.format == "ctm":
        right, left, notes = reduce_to_span(right, left, sides)
        right = split_by_segments(right, left)
    if left.format == right.format == "stm":
        right = _match_speakers(left, right)
    if left.format == right.format == "lines" and len(left.utterances) != len(right.utterances):
        raise UserError(
            f"{left.path} has {len(left.utterances)} lines but {right.path} has {len(right.utterances)}",
            fix="use a format with ids, so that a missing line cannot shift the others",
        )
    left, right = _match_by_audio(left, right)
    right, case_notes = _match_case(left, right)
    left, right, id_notes = _reduce_to_ids(left, right, sides)
    check_duplicates(left)
    check_duplicates(right)
    _check_known_ids(left, right)
    found = {u.id: u for u in right.utterances if not u.absent}
    lacking = [u for u in left.utterances if u.id not in found]
    notes += case_notes + id_notes
    notes += report_missing(lacking, len(left.utterances), right.path, missing)
    notes += _find_mismatch_warnings(left, right)
    kept = [u for u in left.utterances if u.id in found or missing == "empty"]
    pairs = [(u, found.get(u.id, Utterance(u.id, "", 0))) for u in kept]
    matched = make_transcripts(name, right.path, pairs, [u.id for u in lacking], notes)
    return replace(matched, columns_read=name_columns(left.column, right.column))


def name_columns(reference: str | None, hypothesis: str | None) -> dict[str, str]:
    """Return the columns that were read, by side; a file that is not a table has none."""
    sides = {"reference": reference, "hypothesis": hypothesis}
    return {side: column for side, column in sides.items() if column is not None}


def _match_speakers(left: TranscriptFile, right: TranscriptFile) -> TranscriptFile:
    """Add the speaker to ids of segments that have it in the reference, because others have the same times."""
    known = {u.id.lower() for u in (*left.utterances, *left.ignored)}
    by_speaker = [(u, add_speaker(u)) for u in right.utterances]
    utterances = [new if u.id.lower() not in known and new.id.lower() in known else u for u, new in by_speaker]
    return replace(right, utterances=utterances)


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
    note = f"ids of {right.path.name} differ in case from those of {left.path.name}: {format_names(changed)}"
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
            f"not in {left.path}: {format_names([f'{u.id} (line {u.line})' for u in extra])}",
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
        names = format_names(differing)
        notes.append(
            f"the references of {right.path.name} differ from those of {left.path.name}, which are used, for {names}"
        )
    return notes


def report_missing(lacking: list[Utterance], total: int, path: Path, missing: str) -> list[str]:
    """Return a warning about utterances without a hypothesis. Raises UserError with the policy "error"."""
    if not lacking:
        return []
    names = format_names([u.id for u in lacking])
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


def make_transcripts(
    name: str, path: Path, pairs: list[tuple[Utterance, Utterance]], missing: list[str], notes: list[str]
) -> MatchedTranscripts:
    """Collect the texts, speakers and columns of (reference, hypothesis) pairs."""
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


def format_names(names: Iterable[str]) -> str:
    """Return the first ten names, and the number of the others."""
    shown = list(names)
    more = f" and {len(shown) - _MAX_NAMES} more" if len(shown) > _MAX_NAMES else ""
    return ", ".join(shown[:_MAX_NAMES]) + more
