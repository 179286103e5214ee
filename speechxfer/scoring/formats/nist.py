"""Readers of NIST's formats trn, stm and ctm (described in SCTK's `infmts` documentation)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from speechxfer.errors import Problems
from speechxfer.scoring.formats.transcript import (
    SegmentTime,
    Side,
    TimedWord,
    TranscriptFile,
    Utterance,
    iter_numbered_lines,
    require_utterances,
)

# sclite looks for the mark anywhere in a segment's text, in any case
_IGNORED_SEGMENT = re.compile(r"ignore[_ ]time[_ ]segment[_ ]in[_ ]scoring", re.IGNORECASE)
_BRACKETED = re.compile(r"\(([^\s()]+)\)")
_ALTERNATIVE_MARKS = ("<alt_begin>", "<alt>", "<alt_end>")


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
    _check_one_per_line(utterances, problems)
    problems.raise_if_any()
    return TranscriptFile(path, "trn", require_utterances(path, utterances))


def _check_one_per_line(utterances: list[Utterance], problems: Problems) -> None:
    """Add a problem for each text that contains what looks like the id of another utterance."""
    shapes = {_get_shape(u.id) for u in utterances if any(map(str.isdigit, u.id))}
    for utterance in utterances:
        ids = [name for name in _BRACKETED.findall(utterance.text) if _get_shape(name) in shapes]
        if ids:
            problems.add(f"line {utterance.line}: two utterances, '{ids[0]}' and '{utterance.id}', on one line")


def _get_shape(name: str) -> str:
    """Return an id with its numbers and its words unified: `s12-cmh` becomes `a0-a`."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", name))


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

    The id is `recording-channel-start-end`, and `-speaker` for segments of the same time. Segments marked to be ignored
    (IGNORE_TIME_SEGMENT_IN_SCORING) are kept separately.
    """
    problems = Problems(
        f"{path} is not a valid stm file", fix="write each line as: recording channel speaker start end text"
    )
    found = []
    for number, line in iter_numbered_lines(path):
        if line.startswith(";;"):
            continue
        fields = line.split(None, 5)
        if len(fields) < 5 or (start := _seconds(fields[3])) is None or (end := _seconds(fields[4])) is None:
            problems.add(f"line {number}: '{line[:60]}'")
        elif end < start:
            problems.add(f"line {number}: end {end} s is before start {start} s")
        else:
            found.append(_make_segment(number, fields, start, end))
    problems.raise_if_any()
    ignored = [segment for segment in found if _IGNORED_SEGMENT.search(segment.text)]
    scored = [segment for segment in found if not _IGNORED_SEGMENT.search(segment.text)] if ignored else found
    times = Counter(segment.id.lower() for segment in scored)
    scored = [add_speaker(segment) if times[segment.id.lower()] > 1 else segment for segment in scored]
    ignored = [add_speaker(segment) if segment.id.lower() in times else segment for segment in ignored]
    return TranscriptFile(path, "stm", require_utterances(path, scored), ignored=ignored)


def add_speaker(segment: Utterance) -> Utterance:
    """Return a segment of an stm with its speaker in the id."""
    return segment._replace(id=f"{segment.id}-{segment.speaker}")


def _make_segment(number: int, fields: list[str], start: float, end: float) -> Utterance:
    recording, channel, speaker = fields[:3]
    text = fields[5] if len(fields) > 5 else ""
    labels = ""
    if label := re.match(r"<([^>]*)>\s*", text):
        labels, text = label[1], text[label.end() :]
    columns = {f"label {k}": value for k, value in enumerate(labels.split(","), start=1) if value.strip()}
    columns |= {"recording": recording, "duration": f"{end - start:.3f}"}
    return Utterance(
        id=f"{recording}-{channel}-{start:.10g}-{end:.10g}",
        text=text.strip(),
        line=number,
        speaker=speaker,
        columns=columns,
        segment=SegmentTime(recording, channel, _round_to_single(start), _round_to_single(end)),
    )


def _round_to_single(seconds: float) -> float:
    """Round as sclite reads the times of segments, which decides to which of two a word at their border belongs."""
    return float(np.float32(seconds))


def read_ctm(path: Path, side: Side) -> TranscriptFile:
    """Read lines of `recording channel start duration word [confidence]`, times in seconds.

    Alternatives stand between lines whose word is <ALT_BEGIN>, <ALT> and <ALT_END> and whose times are `*`. The words
    have no utterances until `segments` makes them.
    """
    problems = Problems(
        f"{path} is not a valid ctm file", fix="write each line as: recording channel start duration word"
    )
    words: list[TimedWord] = []
    alternatives: list[list[TimedWord]] | None = None  # an open <ALT_BEGIN>
    for number, line in iter_numbered_lines(path):
        if line.startswith(";;"):
            continue
        fields = line.split()
        mark = fields[4].lower() if len(fields) > 4 else ""
        if mark in _ALTERNATIVE_MARKS:
            if (mark == "<alt_begin>") == (alternatives is not None):
                problems.add(f"line {number}: {fields[4]} {'within' if alternatives else 'without'} <ALT_BEGIN>")
            elif mark == "<alt_end>":
                words += _join_alternatives(alternatives or [])
            else:
                alternatives = [*(alternatives or []), []]
            alternatives = None if mark == "<alt_end>" else alternatives
            continue
        if len(fields) < 5 or (start := _seconds(fields[2])) is None or (length := _seconds(fields[3])) is None:
            problems.add(f"line {number}: '{line[:60]}'")
            continue
        word = TimedWord(fields[0], fields[1], start, start + length / 2, start + length, fields[4], number)
        (words if alternatives is None else alternatives[-1]).append(word)
    if alternatives is not None:
        problems.add("<ALT_BEGIN> without <ALT_END>")
    problems.raise_if_any()
    return TranscriptFile(path, "ctm", [], words)


def _join_alternatives(alternatives: list[list[TimedWord]]) -> list[TimedWord]:
    """Return alternatives as one word in sclite's notation; nothing if all of them are empty."""
    words = [word for alternative in alternatives for word in alternative]
    if not words:
        return []
    texts = [" ".join(word.word for word in alternative) or "@" for alternative in alternatives]
    first = min(words, key=lambda word: word.start)
    middle, end = max(word.middle for word in words), max(word.end for word in words)
    text = f"{{ {' / '.join(texts)} }}"
    return [TimedWord(first.recording, first.channel, first.start, middle, end, text, words[0].line, True)]


def _seconds(field: str) -> float | None:
    return float(field) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", field) else None
