"""Segmentation of long audio at pauses, in constant memory.

Encoders take about 30 seconds at once. A window of that length moves over the file while it is decoded, and each
segment ends at the quietest point of the window's second half (the min-cut of WhisperX, Bain et al. 2023, arXiv
2303.00747, with the signal level in place of a voice activity score). For a model that was adapted to single
utterances, a segment ends at the first long pause instead, where such an utterance would. Silence is left out, as
Whisper hallucinates words in it; the threshold is deliberately low, because faint speech that is classified as silence
is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechxfer.data.audio import get_audio_source, iter_mono_blocks, name_row_in_error
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE

# Silence is below SILENCE_LEVEL_DB and RELATIVE_SILENCE_DB below the file's loudest level so far, or digital silence.
SILENCE_LEVEL_DB = -60.0  # dBFS
RELATIVE_SILENCE_DB = 40.0  # dB
SPEECH_RANGE_DB = 30.0  # dB below the maximum level of a segment in which its speech is
DIGITAL_SILENCE_DB = -100.0  # dBFS; below one step of 16 bits
MAX_DIGITAL_SILENCE = 10 ** (DIGITAL_SILENCE_DB / 20)  # the same as the magnitude of a sample
MIN_LONG_SILENCE_SECONDS = 2.0  # s; a silence of this length ends a segment, and is part of none
MIN_SEGMENT_SECONDS = 1.0  # s; segments that end at a pause are at least this long
LEVEL_FRAME_SECONDS = 0.02  # s; the level is measured over this time
LEVEL_SMOOTHING_SECONDS = 0.3  # s; and averaged over this: longer than a stop consonant, shorter than most pauses
MIN_LAST_SHARE = 0.2  # minimum length of a file's last segment, as a share of the maximum: context for a few words


@dataclass(frozen=True)
class AudioSegment:
    """A segment of a file. start, end: seconds of the file. waveform: (time,) float32, mono, at 16 kHz.

    is_whole: the audio was not cut; this is all of it.
    """

    start: float
    end: float
    waveform: np.ndarray
    is_whole: bool = False


def segment_audio(
    row: Mapping[str, Any],
    *,
    max_seconds: float,
    max_single_seconds: float | None = None,
    pause_seconds: float | None = None,
) -> Iterator[AudioSegment]:
    """Split a row's audio (`path` or embedded `bytes`; `start`, `end`) into segments of at most `max_seconds`.

    max_single_seconds: audio of up to this length (default: `max_seconds`) is one segment, equal to
    `audio.load_waveform(row)`. Longer audio loses its silence: where the level stays below `SILENCE_LEVEL_DB`, and
    `RELATIVE_SILENCE_DB` below the loudest level so far, at the start of a segment, or for `MIN_LONG_SILENCE_SECONDS`
    anywhere. Segments are slices of `audio.load_waveform(row)`; their boundaries do not depend on the decoder's blocks.
    pause_seconds: a segment of longer audio ends in the first pause whose level, averaged over this time, is
    `SPEECH_RANGE_DB` below the loudest so far; without such a pause, where this average is lowest. Digital silence at
    its ends, which recordings of single utterances do not have, is left out.
    Raises: UserError naming the row's audio, as `audio.decode_audio` does, possibly after some segments.
    """
    single = max_seconds if max_single_seconds is None else max_single_seconds
    try:
        yield from _segment_long_audio(row, max_seconds, single, pause_seconds)
    except UserError as error:
        raise name_row_in_error(error, row) from None


def _segment_long_audio(
    row: Mapping[str, Any], max_seconds: float, max_single_seconds: float, pause_seconds: float | None
) -> Iterator[AudioSegment]:
    rate = SAMPLE_RATE
    blocks = iter_mono_blocks(get_audio_source(row), rate, row.get("start"), row.get("end"))
    window = _Window(blocks, round((row.get("start") or 0.0) * rate))
    if window.fill(int(max_single_seconds * rate)):
        yield window.take(len(window.samples), is_whole=True)
        return
    last_seconds = MIN_LAST_SHARE * max_seconds if pause_seconds is None else MIN_SEGMENT_SECONDS
    max_samples, min_last = int(max_seconds * rate), int(last_seconds * rate)
    hop = round(LEVEL_FRAME_SECONDS * rate)
    # long enough to recognise a long silence that starts at max_samples
    lookahead = max_samples + max(min_last, round(MIN_LONG_SILENCE_SECONDS * rate) + hop)
    loudest = -np.inf
    while True:
        at_end = window.fill(lookahead)
        level = compute_smoothed_levels(window.samples[:lookahead], rate)
        if not len(level):
            return
        loudest = max(loudest, level.max())
        silent = level < max(DIGITAL_SILENCE_DB, min(SILENCE_LEVEL_DB, loudest - RELATIVE_SILENCE_DB))
        if silent[0]:
            sounds = np.flatnonzero(~silent)
            # the audio after the window may start softly: keep half of the averaging width before it
            dropped = (
                sounds[0]
                if len(sounds)
                else len(level) - (0 if at_end else round(LEVEL_SMOOTHING_SECONDS / LEVEL_FRAME_SECONDS) // 2)
            )
            window.drop(max(1, int(dropped)) * hop)
            continue
        pause = _find_long_silence(silent, round(MIN_LONG_SILENCE_SECONDS / LEVEL_FRAME_SECONDS))
        if pause is not None and pause * hop <= max_samples:
            end = pause * hop
        elif at_end and len(window.samples) <= max_samples:
            end = len(window.samples)
        else:
            last = min(max_samples, len(window.samples) - min_last) if at_end else max_samples
            if pause_seconds is None:
                frame = _find_quietest_frame(level, max_samples // 2 // hop, last // hop)
            else:
                average = compute_smoothed_levels(window.samples[:lookahead], rate, pause_seconds)
                frame = _find_pause(average, round(MIN_SEGMENT_SECONDS * rate) // hop, last // hop, loudest)
            end = frame * hop + hop // 2
        segment = window.take(end)
        yield segment if pause_seconds is None else _trim_digital_silence(segment)


def _trim_digital_silence(segment: AudioSegment) -> AudioSegment:
    """Return the segment without the digital silence of a frame or more at its ends, unless it is nothing else."""
    sounds = np.flatnonzero(np.abs(segment.waveform) > MAX_DIGITAL_SILENCE)
    hop = round(LEVEL_FRAME_SECONDS * SAMPLE_RATE)
    if not len(sounds):
        return segment
    first, last = int(sounds[0]), int(sounds[-1]) + 1
    first = first if first >= hop else 0
    last = last if len(segment.waveform) - last >= hop else len(segment.waveform)
    start, end = segment.start + first / SAMPLE_RATE, segment.start + last / SAMPLE_RATE
    return AudioSegment(start, end, segment.waveform[first:last], segment.is_whole)


def compute_smoothed_levels(
    samples: np.ndarray, rate: int, smoothing_seconds: float = LEVEL_SMOOTHING_SECONDS
) -> np.ndarray:
    """Compute the level of (time,) samples at `rate` Hz per 20 ms frame: (time // hop,) dBFS, a moving average.

    The level is a frame's variance, so a constant offset counts as silence. A full-scale sine has -3 dBFS.
    """
    hop, reach = round(LEVEL_FRAME_SECONDS * rate), round(smoothing_seconds / LEVEL_FRAME_SECONDS) // 2
    count = len(samples) // hop
    power = samples[: count * hop].reshape(count, hop).var(axis=1, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(power)])
    low = np.maximum(np.arange(count) - reach, 0)
    high = np.minimum(np.arange(count) + reach + 1, count)
    return 10 * np.log10(np.maximum((total[high] - total[low]) / (high - low), 1e-12))


def measure_speech_seconds(samples: np.ndarray, rate: int) -> float:
    """Return the seconds of (time,) samples in which the level is less than `SPEECH_RANGE_DB` below its maximum."""
    level = compute_smoothed_levels(samples, rate)
    if not len(level):
        return 0.0
    return float((level > max(SILENCE_LEVEL_DB, level.max() - SPEECH_RANGE_DB)).sum() * LEVEL_FRAME_SECONDS)


def find_cut(samples: np.ndarray, rate: int) -> int:
    """Return the sample at the quietest point of the middle half of (time,) samples."""
    level = compute_smoothed_levels(samples, rate)
    hop = round(LEVEL_FRAME_SECONDS * rate)
    return _find_quietest_frame(level, len(level) // 4, max(len(level) // 4 + 1, 3 * len(level) // 4)) * hop + hop // 2


def _find_quietest_frame(level: np.ndarray, first: int, last: int) -> int:
    """Return the quietest frame of `first` to `last`, or of the pause before them that ends there."""
    frame = first + int(level[first:last].argmin())
    while frame > 1 and level[frame - 1] < level[frame]:
        frame -= 1
    return frame


def _find_pause(level: np.ndarray, first: int, last: int, loudest: float) -> int:
    """Return the middle of the first pause that starts in `first` to `last`, or of the quietest part before `last`."""
    first = min(first, last - 1)
    starts = np.flatnonzero(level[first:last] <= loudest - SPEECH_RANGE_DB)
    if not len(starts):
        return first + int(np.flatnonzero(level[first:last] == level[first:last].min()).mean())
    start = end = first + int(starts[0])
    while end + 1 < len(level) and level[end + 1] <= loudest - SPEECH_RANGE_DB:
        end += 1
    pause = level[start : min(end + 1, last)]
    return start + int(np.flatnonzero(pause == pause.min()).mean())


def _find_long_silence(silent: np.ndarray, min_frames: int) -> int | None:
    """Return the first frame of the first silence of at least `min_frames` frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]])))
    starts = [start for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= min_frames]
    return int(starts[0]) if starts else None


class _Window:
    """The decoded part of the file that is in memory, at 16 kHz. offset: samples of the file before `samples`."""

    def __init__(self, blocks: Iterator[np.ndarray], offset: int) -> None:
        self.samples, self.offset = np.empty(0, np.float32), offset
        self._blocks, self._exhausted = blocks, False

    def fill(self, count: int) -> bool:
        """Decode until the window holds more than `count` samples; return whether the file ends within them."""
        pieces, held = [self.samples], len(self.samples)
        while held <= count and not self._exhausted:
            block = next(self._blocks, None)
            if block is None:
                self._exhausted = True
            else:
                pieces.append(block)
                held += len(block)
        self.samples = np.concatenate(pieces)
        return held <= count

    def drop(self, count: int) -> None:
        count = min(count, len(self.samples))
        self.samples, self.offset = self.samples[count:], self.offset + count

    def take(self, count: int, *, is_whole: bool = False) -> AudioSegment:
        """Remove the first `count` samples from the window and return them as a segment."""
        samples = self.samples[:count].copy()
        start = self.offset / SAMPLE_RATE
        self.drop(count)
        return AudioSegment(start, self.offset / SAMPLE_RATE, samples, is_whole)
