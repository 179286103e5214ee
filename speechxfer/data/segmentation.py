"""A file of any length becomes cuts at its pauses, in memory that does not grow with the file.

Encoders take some thirty seconds at once. A window of that length moves over the file as it is decoded, and ends at the
quietest point of its second half (the min-cut of WhisperX, Bain et al. 2023, arXiv 2303.00747, with the signal's level
in place of a voice detector's score). What is silence alone is left out, since Whisper writes words for it; the
threshold is low on purpose, because a detector that takes faint speech for silence loses it without a word.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from speechxfer.data import audio
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.shapes import SAMPLE_RATE

SILENCE_LEVEL_DB = -60.0  # dBFS; silence is quieter than this,
RELATIVE_SILENCE_DB = 40.0  # dB; and so much quieter than the loudest that the file has had so far,
DIGITAL_SILENCE_DB = -100.0  # dBFS; or quieter than one step of 16 bits
MIN_LONG_SILENCE_SECONDS = 2.0  # seconds; so long a silence ends a cut, and is in none
LEVEL_FRAME_SECONDS = 0.02  # seconds over which the level is measured,
LEVEL_SMOOTHING_SECONDS = 0.3  # and over which it is averaged: longer than a stop consonant, shorter than most pauses
MIN_LAST_SHARE = 0.2  # the least that is left for a file's last cut, as a share of the longest: context for a few words
DECODE_BLOCK_SAMPLES = 65_536  # samples decoded at once


@dataclass(frozen=True)
class AudioSegment:
    """A stretch of a file. start, end: seconds of the file. waveform: (time,) float32, mono, at 16 kHz.

    whole: nothing was cut, this is all that there is.
    """

    start: float
    end: float
    waveform: np.ndarray
    is_whole: bool = False


def segment_audio(row: Mapping[str, Any], *, longest: float, whole: float | None = None) -> Iterator[AudioSegment]:
    """A row's audio (`path` or embedded `bytes`; `start`, `end`) in consecutive cuts of at most `max_samples` seconds.

    whole: up to so many seconds (`max_samples` if None) the audio is one cut, equal to `audio.load(row)`. Beyond, silence
    is left out: where the level stays under `SILENCE_LEVEL_DB`, and `RELATIVE_SILENCE_DB` under the loudest so far, at the
    beginning of a cut, or for `MIN_LONG_SILENCE_SECONDS` anywhere.
    Where the cuts lie does not depend on how the file is decoded in blocks; each is resampled on its own.
    Raises UserError naming the row's audio, for what `audio.decode` raises it, possibly after some cuts.
    """
    try:
        yield from _segment_long_audio(row, longest, longest if whole is None else whole)
    except UserError as error:
        raise audio.name_row_in_error(error, row) from None


def get_header_duration(row: Mapping[str, Any]) -> float:
    """Duration of a row's utterance in seconds, as the header says; nothing is decoded, 0 where it does not say.

    Raises UserError naming the row's audio where the header shows that it cannot be used.
    """
    source = audio.get_audio_source(row)
    try:
        if not audio._needs_av(audio._head(source)):
            return audio.measure_duration(row)
        with _container(source) as container:
            length = _container_duration(container)
    except UserError as error:
        raise audio.name_row_in_error(error, row) from None
    start, end = row.get("start") or 0.0, row.get("end")
    return max(0.0, (length if end is None else end) - start)


def _segment_long_audio(row: Mapping[str, Any], longest: float, whole: float) -> Iterator[AudioSegment]:
    rate, blocks = _decode_blocks(audio.get_audio_source(row), row.get("start"), row.get("end"))
    window = _Window(blocks, round((row.get("start") or 0.0) * rate))
    if window.fill(int(whole * rate)):
        yield window.take(len(window.samples), rate, whole=True)
        return
    most, spare, hop = int(longest * rate), int(MIN_LAST_SHARE * longest * rate), round(LEVEL_FRAME_SECONDS * rate)
    seen = most + max(spare, round(MIN_LONG_SILENCE_SECONDS * rate) + hop)  # so that a long silence is known for one
    loudest = -np.inf
    while True:
        ends = window.fill(seen)
        level = compute_smoothed_levels(window.samples[:seen], rate)
        if not len(level):
            return
        loudest = max(loudest, level.max())
        silent = level < max(DIGITAL_SILENCE_DB, min(SILENCE_LEVEL_DB, loudest - RELATIVE_SILENCE_DB))
        if silent[0]:
            sounds = np.flatnonzero(~silent)
            # what follows the window may begin softly: half of the averaging width is kept before it
            leave = (
                sounds[0]
                if len(sounds)
                else len(level) - (0 if ends else round(LEVEL_SMOOTHING_SECONDS / LEVEL_FRAME_SECONDS) // 2)
            )
            window.drop(max(1, int(leave)) * hop)
            continue
        pause = _find_long_silence(silent, round(MIN_LONG_SILENCE_SECONDS / LEVEL_FRAME_SECONDS))
        if pause is not None and pause * hop <= most:
            end = pause * hop
        elif ends and len(window.samples) <= most:
            end = len(window.samples)
        else:
            last = min(most, len(window.samples) - spare) if ends else most
            end = _find_quietest_frame(level, most // 2 // hop, last // hop) * hop + hop // 2
        yield window.take(end, rate)


def compute_smoothed_levels(samples: np.ndarray, rate: int) -> np.ndarray:
    """(time,) samples at `rate` Hz to the level of every 20 ms, (time // hop,), in dBFS, averaged over 0.3 s.

    A frame's variance is taken, so that a constant offset is no sound. A full-scale sine has -3 dBFS.
    """
    hop, reach = round(LEVEL_FRAME_SECONDS * rate), round(LEVEL_SMOOTHING_SECONDS / LEVEL_FRAME_SECONDS) // 2
    count = len(samples) // hop
    power = samples[: count * hop].reshape(count, hop).var(axis=1, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(power)])
    low = np.maximum(np.arange(count) - reach, 0)
    high = np.minimum(np.arange(count) + reach + 1, count)
    return 10 * np.log10(np.maximum((total[high] - total[low]) / (high - low), 1e-12))


def _find_quietest_frame(level: np.ndarray, first: int, last: int) -> int:
    """The quietest frame from `first` to `last`; where that is the end of a pause before them, the pause's own."""
    frame = first + int(level[first:last].argmin())
    while frame > 1 and level[frame - 1] < level[frame]:
        frame -= 1
    return frame


def _find_long_silence(silent: np.ndarray, least: int) -> int | None:
    """The first frame of the first silence of at least so many frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]])))
    long = [begin for begin, end in zip(edges[::2], edges[1::2], strict=True) if end - begin >= least]
    return int(long[0]) if long else None


class _Window:
    """The part of the file that is in memory: `samples` from `place` on, as far as it has been decoded."""

    def __init__(self, blocks: Iterator[np.ndarray], place: int) -> None:
        self.samples, self.place = np.empty(0, np.float32), place
        self._blocks, self._ended = blocks, False

    def fill(self, wanted: int) -> bool:
        """Decode until there are more than `wanted` samples; whether the file ends within them."""
        pieces, held = [self.samples], len(self.samples)
        while held <= wanted and not self._ended:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                pieces.append(block)
                held += len(block)
        self.samples = np.concatenate(pieces)
        return held <= wanted

    def drop(self, count: int) -> None:
        count = min(count, len(self.samples))
        self.samples, self.place = self.samples[count:], self.place + count

    def take(self, count: int, rate: int, *, whole: bool = False) -> AudioSegment:
        """The first `count` samples as a cut; they leave the window."""
        samples = self.samples[:count].copy()
        start = self.place / rate
        self.drop(count)
        if rate != SAMPLE_RATE:
            samples = audio.resample(torch.from_numpy(samples), rate, SAMPLE_RATE).numpy()
        return AudioSegment(start, self.place / rate, np.ascontiguousarray(samples), whole)


def _decode_blocks(source: str | bytes, start: float | None, end: float | None) -> tuple[int, Iterator[np.ndarray]]:
    """The rate in Hz and the samples between `start` and `end`, mono, a block at a time."""
    head = audio._head(source)
    if audio._needs_av(head):
        return _with_av(source, start, end)
    file = audio._open(source, head)
    return file.samplerate, _with_soundfile(file, audio._name(source), start, end)


def _with_soundfile(
    file: soundfile.SoundFile, where: str, start: float | None, end: float | None
) -> Iterator[np.ndarray]:
    """As `audio.decode_channels` reads, a block at a time."""
    with file:
        first, last = audio._cut(file.frames / file.samplerate, start, end, where)
        skip, count = round(first * file.samplerate), round(last * file.samplerate) - round(first * file.samplerate)
        exact = file.format != "MP3"  # libsndfile seeks in MP3 to the wrong place,
        if not exact:
            file.seekable = lambda: False  # and soundfile would seek after each block
        if skip and exact:
            file.seek(skip)
        left, got = (0 if exact else skip), 0
        while got < count:
            try:
                block = file.read(min(DECODE_BLOCK_SAMPLES, left or count - got), dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise audio._damaged(where, audio._words(error)) from None
            if not len(block):
                break
            if left:
                left -= len(block)
                continue
            if not np.isfinite(block).all():
                raise UserError("holds samples that are not numbers", where=where, fix="write the file again")
            got += len(block)
            yield block.mean(axis=1, dtype=np.float32)
        if got < count * (1 if exact else audio._MP3_SLACK):
            raise audio._damaged(where, f"ends after {got} of {count} samples")


def _with_av(source: str | bytes, start: float | None, end: float | None) -> tuple[int, Iterator[np.ndarray]]:
    where = audio._name(source)
    first, last = audio._cut(np.inf, start, end, where)
    container = _container(source)
    stream = container.streams.audio[0]
    rate = int(stream.rate or 0)
    if not rate:
        raise UserError("holds no samples", where=where)

    def blocks() -> Iterator[np.ndarray]:
        import av

        skip, stop, at = round(first * rate), np.inf if end is None else round(last * rate), 0
        resampler = av.AudioResampler(format="fltp", rate=rate)
        with container:
            try:
                for frame in _frames(container, stream):
                    for piece in resampler.resample(frame):
                        block = piece.to_ndarray().T.astype(np.float32, copy=False)
                        begin, at = at, at + len(block)
                        wanted = block[max(0, skip - begin) : max(0, int(min(at, stop)) - begin)]
                        if len(wanted):
                            yield wanted.mean(axis=1, dtype=np.float32)
                    if at >= stop:
                        return
            except (av.FFmpegError, ValueError) as error:
                raise audio._damaged(where, getattr(error, "strerror", None) or str(error)) from None
            stated = _container_duration(container)
        if not at:
            raise UserError("holds no samples", where=where)
        if at / rate < audio._AV_SLACK * stated - 0.1:
            raise audio._damaged(where, f"{at / rate:.2f} of {stated:.2f} s")
        audio._cut(at / rate, start, end, where)  # only now is the length known

    return rate, blocks()


def _container_duration(container: Any) -> float:
    """Seconds that the container says the audio has, 0 where it does not: beside a video it may be the shorter."""
    stream = container.streams.audio[0]
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1_000_000 if len(container.streams) == 1 else 0.0  # microseconds


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Every decoded frame, then None, which empties the resampler."""
    yield from container.decode(stream)
    yield None


def _container(source: str | bytes) -> Any:
    """PyAV's open container, with an audio stream. Raises as `audio.decode` does."""
    where = audio._name(source)
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "av", f"{where}: this kind of file") from None
    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(Path(source)), mode="r")
    except (av.FFmpegError, ValueError) as error:
        raise audio._damaged(where, str(error)) from None
    if not container.streams.audio:
        container.close()
        raise UserError("holds no audio track", where=where)
    return container
