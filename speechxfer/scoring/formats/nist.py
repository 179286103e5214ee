"""Readers of NIST's formats trn, stm and ctm (described in SCTK's `infmts` documentation)."""

from __future__ import annotations

import re
from bisect import bisect_right
from pathlib import Path

from speechxfer.errors import Problems, UserError
from speechxfer.scoring.formats.transcript import (
    SegmentTime,
    Side,
    TimedWord,
    TranscriptFile,
    Utterance,
    iter_numbered_lines,
    require_utterances,
)

IGNORED_SEGMENT_MARK = "ignore_time_segment_in_scoring"


def read_trn(path: Path, side: Side) -> TranscriptFile:
    """Read lines of `text (speaker-utterance)`; the speaker ends at the first `-` or `_`. `;;` starts a comment."""
    problems = Problems(f"{path} is not a valid trn file", fix="write each line as: text (speaker-utterance)")
    utterances = []
    for number, line in iter_numbered_lines(path):
        if line.startswith(";;"):
            continue
        found = parse_trn_line(line)
        if found is None:
            problems.add(f"line {number}: no (id) at the end")
            continue
        text, name, speaker = found
        utterances.append(Utterance(name, text, number, None, speaker))
    problems.raise_if_any()
    return TranscriptFile(path, "trn", require_utterances(path, utterances))


def parse_trn_line(line: str) -> tuple[str, str, str | None] | None:
    """Return text, id and speaker (None if the id has none) of a line; None for a line without an id at its end."""
    text, bracket, name = line.rstrip().rpartition("(")
    if not bracket or name[-1:] != ")" or len(name) < 2 or " " in name or "\t" in name or ")" in name[:-1]:
        return None
    name = name[:-1]
    speaker, separator, _ = name.replace("_", "-").partition("-")
    return text.strip(), name, speaker if speaker and separator else None


def read_stm(path: Path, side: Side) -> TranscriptFile:
    """Read lines of `recording channel speaker start end [<labels>] text`, times in seconds.

    Segments marked to be ignored are kept separately.
    """
    problems = Problems(
        f"{path} is not a valid stm file", fix="write each line as: recording channel speaker start end text"
    )
    utterances: list[Utterance] = []
    ignored: list[Utterance] = []
    for number, line in iter_numbered_lines(path):
        if line.startswith(";;"):
            continue
        fields = line.split(None, 5)
        if len(fields) < 5 or (start := _seconds(fields[3])) is None or (end := _seconds(fields[4])) is None:
            problems.add(f"line {number}: '{line[:60]}'")
            continue
        if end < start:
            problems.add(f"line {number}: end {end} s is before start {start} s")
            continue
        text = fields[5] if len(fields) > 5 else ""
        labels = ""
        if label := re.match(r"<([^>]*)>\s*", text):
            labels, text = label[1], text[label.end() :]
        columns = {f"label {k}": value for k, value in enumerate(labels.split(","), start=1) if value.strip()}
        name = f"{fields[0]}-{fields[1]}-{fields[3]}-{fields[4]}"
        columns |= {"recording": fields[0], "duration": f"{end - start:.3f}"}
        segment = SegmentTime(fields[0].lower(), fields[1].lower(), start, end)
        utterance = Utterance(name, text.strip(), number, speaker=fields[2], columns=columns, segment=segment)
        (ignored if text.strip().lower() == IGNORED_SEGMENT_MARK else utterances).append(utterance)
    problems.raise_if_any()
    return TranscriptFile(path, "stm", require_utterances(path, utterances), ignored=ignored)


def read_ctm(path: Path, side: Side) -> TranscriptFile:
    """Read lines of `recording channel start duration word [confidence]`, times in seconds.

    The words have no utterances until `split_by_segments`.
    """
    if side == "reference":
        raise UserError(
            "a ctm file has no utterances, so it cannot be the reference", where=str(path), fix="use an stm file"
        )
    problems = Problems(
        f"{path} is not a valid ctm file", fix="write each line as: recording channel start duration word"
    )
    words = []
    for number, line in iter_numbered_lines(path):
        if line.startswith(";;"):
            continue
        fields = line.split()
        if len(fields) < 5 or (start := _seconds(fields[2])) is None or (length := _seconds(fields[3])) is None:
            problems.add(f"line {number}: '{line[:60]}'")
            continue
        words.append(TimedWord(fields[0].lower(), fields[1].lower(), start, length, fields[4], number))
    problems.raise_if_any()
    return TranscriptFile(path, "ctm", [], words)


def _seconds(field: str) -> float | None:
    return float(field) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", field) else None


def split_by_segments(words: TranscriptFile, segments: TranscriptFile) -> TranscriptFile:
    """Assign the words of a ctm to the utterances of an stm, as sclite does.

    A word belongs to the first segment that ends after the word's midpoint; words after the last segment belong to the
    last one. A recording (or channel) without any word gets no utterances: it may be silent or never transcribed.

    Raises:
        UserError: for words of a recording that is not in the stm.
    """
    by_recording: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in [*segments.utterances, *segments.ignored]:
        if utterance.segment is not None:
            by_recording.setdefault((utterance.segment.recording, utterance.segment.channel), []).append(utterance)
    ends: dict[tuple[str, str], list[float]] = {}
    for key, group in by_recording.items():
        group.sort(key=lambda u: u.segment.end if u.segment else 0.0)
        ends[key] = [u.segment.end for u in group if u.segment]
    transcribed = {(word.recording, word.channel) for word in words.words}
    texts: dict[str, list[str]] = {
        u.id: [] for u in segments.utterances if u.segment and (u.segment.recording, u.segment.channel) in transcribed
    }
    for word in sorted(words.words, key=lambda w: w.start):
        key = (word.recording, word.channel)
        if key not in by_recording:
            raise UserError(
                f"recording '{word.recording}', channel '{word.channel}' is not in {segments.path}",
                where=f"{words.path}:{word.line}",
            )
        index = min(bisect_right(ends[key], word.start + word.duration / 2), len(ends[key]) - 1)
        texts.get(by_recording[key][index].id, []).append(word.word)
    lines = {u.id: u.line for u in segments.utterances}
    return TranscriptFile(words.path, "ctm", [Utterance(name, " ".join(t), lines[name]) for name, t in texts.items()])
