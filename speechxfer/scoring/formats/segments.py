"""Utterances of words with times: cut by the segments of an stm, or joined by channel, as sclite does."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import replace

from speechxfer.errors import UserError
from speechxfer.scoring.formats.transcript import ChannelKey, Side, TranscriptFile, Utterance


def split_by_segments(words: TranscriptFile, segments: TranscriptFile) -> TranscriptFile:
    """Assign the words of a ctm to the utterances of an stm, as sclite does.

    A word belongs to the first segment that ends after the word's midpoint; words after the last segment belong to the
    last one. A recording (or channel) without any word gets no utterances: it may be silent or never transcribed.

    Raises:
        UserError: for words of a recording that is not in the stm.
    """
    by_channel: dict[ChannelKey, list[Utterance]] = {}
    for utterance in [*segments.utterances, *segments.ignored]:
        if utterance.segment is not None:
            by_channel.setdefault(utterance.segment.key, []).append(utterance)
    ends: dict[ChannelKey, list[float]] = {}
    for key, group in by_channel.items():
        group.sort(key=lambda u: u.segment.end if u.segment else 0.0)
        ends[key] = [u.segment.end for u in group if u.segment]
    transcribed = {word.key for word in words.words}
    texts: dict[str, list[str]] = {u.id: [] for u in segments.utterances if u.segment and u.segment.key in transcribed}
    for word in sorted(words.words, key=lambda w: w.start):
        if word.key not in by_channel:
            raise UserError(
                f"recording '{word.recording}', channel '{word.channel}' is not in {segments.path}",
                where=f"{words.path}:{word.line}",
            )
        index = min(bisect_right(ends[word.key], word.middle), len(ends[word.key]) - 1)
        texts.get(by_channel[word.key][index].id, []).append(word.word)
    lines = {u.id: u.line for u in segments.utterances}
    utterances = [Utterance(name, " ".join(text), lines[name]) for name, text in texts.items()]
    return replace(words, utterances=utterances)


def join_by_channel(transcript: TranscriptFile) -> TranscriptFile:
    """Join the words of a ctm, or the segments of an stm, in the order of time: one utterance for each channel.

    The id, and the speaker, is `recording-channel`.
    """
    parts = [(word.start, f"{word.recording}-{word.channel}", word.line, word.word) for word in transcript.words]
    for utterance in transcript.utterances:
        if (segment := utterance.segment) is not None:
            parts.append((segment.start, f"{segment.recording}-{segment.channel}", utterance.line, utterance.text))
    joined: dict[str, tuple[str, int, list[str]]] = {}  # name as first written, line, texts
    for _, name, line, text in sorted(parts, key=lambda part: part[0]):
        joined.setdefault(name.lower(), (name, line, []))[2].append(text)
    utterances = [Utterance(n, " ".join(texts), line, speaker=n) for _, (n, line, texts) in sorted(joined.items())]
    return replace(transcript, utterances=utterances)


def reduce_to_span(
    words: TranscriptFile, segments: TranscriptFile, sides: Collection[Side]
) -> tuple[TranscriptFile, TranscriptFile, list[str]]:
    """Leave out what is outside the time span of the other file, channel by channel (sclite's `-m`).

    Args:
        sides: "reference" leaves out segments (`-m ref`), "hypothesis" words (`-m hyp`).

    Returns:
        the words; the segments, in which those left out are marked to be ignored; a note for each side.
    """
    outside: list[Utterance] = []
    kept, notes = words.words, []
    if "reference" in sides:
        spans: dict[ChannelKey, tuple[float, float]] = {}
        for word in sorted(words.words, key=lambda w: w.start):
            spans[word.key] = spans.get(word.key, (word.start, 0.0))[0], word.end
        outside = [u for u in segments.utterances if not _is_inside(u, spans)]
        if outside:
            notes = [f"{len(outside):,} segments outside the time span of {words.path.name} are left out"]
    left_out = {utterance.id for utterance in outside}
    utterances = [u for u in segments.utterances if u.id not in left_out]
    if "hypothesis" in sides:
        spans = {}
        for segment in [u.segment for u in (*utterances, *segments.ignored) if u.segment is not None]:
            start, end = spans.get(segment.key, (segment.start, segment.end))
            spans[segment.key] = min(start, segment.start), max(end, segment.end)
        kept = [w for w in kept if w.key in spans and w.start <= spans[w.key][1] and w.end >= spans[w.key][0]]
        if len(kept) < len(words.words):
            dropped = len(words.words) - len(kept)
            notes.append(f"{dropped:,} words of {words.path.name} outside the time span of the reference are left out")
    reduced = replace(segments, utterances=utterances, ignored=[*segments.ignored, *outside])
    return replace(words, words=kept), reduced, notes


def _is_inside(utterance: Utterance, spans: dict[ChannelKey, tuple[float, float]]) -> bool:
    segment = utterance.segment
    if segment is None or segment.key not in spans:
        return False
    start, end = spans[segment.key]
    return start < segment.end and end > segment.start
