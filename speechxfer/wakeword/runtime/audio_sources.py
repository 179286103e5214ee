"""Run a detector on a file or standard input, without torch. `microphone.py` has the blocks of a microphone."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from speechxfer.wakeword.runtime.detector import Detector, to_float_samples
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.events import Event
from speechxfer.wakeword.runtime.features import SAMPLE_RATE
from speechxfer.wakeword.runtime.input_hints import InputMonitor
from speechxfer.wakeword.runtime.resampling import MAX_RATE, Resampler, check_rate

BLOCK_SECONDS = 0.08  # s of audio processed at once
MAX_CHANNELS = 64
_MAX_FILE_RATE = 10 * MAX_RATE  # Hz
_SKIPPED_BYTES = 65_536  # bytes of a WAV stream's other chunks read at once


@dataclass(frozen=True)
class AudioBlock:
    """A block of a stream.

    samples: (time,) float32 at 16 kHz. lost: seconds dropped before it. rate: of the source, in Hz.
    """

    samples: np.ndarray
    lost: float = 0.0
    rate: int = SAMPLE_RATE


@dataclass(frozen=True)
class LevelReading:
    """Content of the level line. time: seconds processed. decibels: dBFS of the block. score: highest of the block."""

    time: float
    decibels: float
    score: float


@dataclass
class ListeningSummary:
    """Result of `listen_to_blocks`. seconds: of audio, dropped audio included. lost: seconds dropped.

    highest_score: of all blocks.
    """

    seconds: float
    lost: float
    events: list[Event]
    highest_score: float = 0.0


def listen_to_blocks(
    detector: Detector,
    blocks: Iterator[AudioBlock],
    *,
    on_event: Callable[[Event], None] | None = None,
    on_level: Callable[[LevelReading], None] | None = None,
    on_hint: Callable[[str], None] | None = None,
    keep: bool = True,
) -> ListeningSummary:
    """Run a detector on blocks until they end, and on the silence of `Detector.flush` after them.

    Dropped audio is replaced by silence, so that times stay correct. on_hint: called with reasons why the word may be
    missed, until it is detected. keep: collect the events; False for endless streams.
    """
    detector.reset()
    summary, monitor, detected = ListeningSummary(0.0, 0.0, []), InputMonitor(), False

    def report_events(events: list[Event]) -> None:
        nonlocal detected
        detected = detected or bool(events)
        summary.highest_score = max(summary.highest_score, detector.score)
        for event in events:
            if keep:
                summary.events.append(event)
            if on_event:
                on_event(event)

    for block in blocks:
        if block.lost:
            summary.lost += block.lost
            report_events(detector.push(np.zeros(round(block.lost * SAMPLE_RATE), np.float32)))
        summary.seconds += block.lost + len(block.samples) / SAMPLE_RATE
        report_events(detector.push(block.samples))
        if on_hint and not detected:
            for hint in monitor.push(block.samples, block.rate):
                on_hint(hint)
        if on_level and len(block.samples):
            power = float(np.mean(np.square(to_float_samples(block.samples), dtype=np.float64)))
            on_level(LevelReading(summary.seconds, 10 * np.log10(power + 1e-10), detector.score))
    report_events(detector.flush())
    if on_hint and not detected:
        for hint in monitor.finish():
            on_hint(hint)
    return summary


def apply_gain(blocks: Iterator[AudioBlock], decibels: float) -> Iterator[AudioBlock]:
    """Yield the blocks with their level changed by `decibels` dB."""
    factor = np.float32(10 ** (decibels / 20))
    for block in blocks:
        yield replace(block, samples=to_float_samples(block.samples) * factor)


def select_channel(samples: np.ndarray, channel: int | None) -> np.ndarray:
    """Map (time, channels) to (time,): the channel with this number, from 1, or the mean of all."""
    return samples.mean(axis=1) if channel is None else samples[:, channel - 1]


def check_channels(channels: int, channel: int | None = None, where: str | None = None) -> None:
    """Raise DetectorError if audio has no or too many channels, or no channel of this number."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise DetectorError(f"{channels} channels, it can be 1 to {MAX_CHANNELS}", where=where)
    if channel is not None and channel > channels:
        has = "1 channel" if channels == 1 else f"{channels} channels"
        raise DetectorError(f"the audio has {has}, so no channel {channel}", where=where, fix="set another --channel")


def read_file_blocks(path: Path | str, channel: int | None = None) -> Iterator[AudioBlock]:
    """Yield the blocks of an audio file at any rate.

    channel: number of the channel to use, from 1 (default: the mean of all).
    Raises: DetectorError if it is missing, not audio that libsndfile can read, or has no such channel.
    """
    import soundfile

    where = str(path)
    if not Path(path).is_file():
        problem = "is a folder" if Path(path).is_dir() else "no such file"
        raise DetectorError(problem, where=where, fix="give a WAV, FLAC, Ogg, Opus or MP3 file, or - for raw audio")
    try:
        # by descriptor: soundfile takes a file named .raw for samples without a header
        with os.fdopen(os.open(path, os.O_RDONLY), "rb") as opened, soundfile.SoundFile(opened) as file:
            rate = file.samplerate
            check_rate(rate, where, _MAX_FILE_RATE)
            check_channels(file.channels, channel, where)
            resampler = Resampler(rate)
            while len(samples := file.read(round(BLOCK_SECONDS * rate), dtype="float32", always_2d=True)):
                mono = to_float_samples(select_channel(samples, channel))  # before one bad sample spreads to others
                yield AudioBlock(resampler.push(mono), rate=rate)
            yield AudioBlock(resampler.flush(), rate=rate)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DetectorError(f"cannot be read as audio ({error})", where=where) from None


def read_raw_blocks(
    stream: IO[bytes], rate: int = SAMPLE_RATE, channel: int | None = None, where: str = "-"
) -> Iterator[AudioBlock]:
    """Yield the blocks of 16-bit little-endian samples from a pipe: a WAV stream, or raw mono samples at `rate` Hz.

    channel: number of the channel to use, from 1 (default: the mean of all).
    Raises: DetectorError for a WAV stream that is not 16-bit PCM, or has no such channel.
    """
    channels = 1
    rest = stream.read(12)
    if rest[:4] == b"RIFF" and rest[8:] == b"WAVE":
        rate, channels = _read_wav_header(stream, where)
        rest = b""
    check_rate(rate, where)
    check_channels(channels, channel, where)
    resampler = Resampler(rate)
    frame_bytes = 2 * channels
    read = getattr(stream, "read1", stream.read)  # returns what is available instead of waiting for a full block
    while data := read(frame_bytes * round(BLOCK_SECONDS * rate)):
        data = rest + data
        whole = len(data) - len(data) % frame_bytes
        rest = data[whole:]
        if whole:
            samples = to_float_samples(np.frombuffer(data[:whole], "<i2").astype(np.int16, copy=False))
            yield AudioBlock(resampler.push(select_channel(samples.reshape(-1, channels), channel)), rate=rate)
    yield AudioBlock(resampler.flush(), rate=rate)


def format_level(level: LevelReading, word: str, threshold: float) -> str:
    """Format a line of 79 characters: time, level, and score relative to the threshold."""
    level_width = round(min(max((level.decibels + 60) / 60, 0), 1) * 20)
    score_width = round(min(max(level.score, 0), 1) * 20)
    mark = "*" if level.score >= threshold else " "
    minutes, seconds = divmod(level.time, 60)
    return (
        f"{int(minutes):3}:{seconds:04.1f}  [{'=' * level_width:<20}] {level.decibels:4.0f} dB  "
        f"[{'#' * score_width:<20}] {level.score:.2f}{mark}{word[:12]}"
    )


def is_terminal() -> bool:
    """Return whether standard error, where the level line is printed, is a terminal."""
    return sys.stderr.isatty()


def _read_wav_header(stream: IO[bytes], where: str) -> tuple[int, int]:
    """Read a WAV stream up to its samples; return the rate and the number of channels."""
    rate = channels = 0
    while len(head := stream.read(8)) == 8:
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        if kind == b"data" and rate:
            return rate, channels
        chunk = stream.read(min(size, 16))
        _skip_bytes(stream, size + size % 2 - len(chunk))
        if kind == b"fmt " and len(chunk) == 16:
            code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk)
            if (code, bits) not in ((1, 16), (0xFFFE, 16)) or not channels or not rate:
                raise DetectorError(f"unsupported WAV: {bits} bits, format {code}", where=where, fix="send 16-bit PCM")
    raise DetectorError("WAV without samples", where=where, fix="send a complete WAV, or raw 16-bit samples")


def _skip_bytes(stream: IO[bytes], count: int) -> None:
    """Read and drop up to `count` bytes, in pieces: a damaged header can state 4 GB."""
    while count > 0 and (piece := stream.read(min(count, _SKIPPED_BYTES))):
        count -= len(piece)
