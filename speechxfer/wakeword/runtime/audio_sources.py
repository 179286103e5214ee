"""Run a detector on a file, standard input or a microphone, without torch."""

from __future__ import annotations

import queue
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from speechxfer.wakeword.runtime.detector import Detector, to_float_samples
from speechxfer.wakeword.runtime.errors import DetectorError, MissingDetectorExtraError
from speechxfer.wakeword.runtime.events import Event
from speechxfer.wakeword.runtime.features import SAMPLE_RATE
from speechxfer.wakeword.runtime.resampling import Resampler

BLOCK_SECONDS = 0.08  # s of audio processed at once
_QUEUE_SECONDS = 10.0  # s of microphone audio that may be queued; anything later is dropped and counted
_TIMEOUT_SECONDS = 5.0  # s without a block after which the microphone is considered disconnected


@dataclass(frozen=True)
class AudioBlock:
    """A block of a stream. samples: (time,) float32 at 16 kHz. lost: seconds dropped before it."""

    samples: np.ndarray
    lost: float = 0.0


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
    keep: bool = True,
) -> ListeningSummary:
    """Run a detector on blocks until they end. Dropped audio is replaced by silence, so that times stay correct.

    keep: collect the events; False for endless streams.
    """
    detector.reset()
    summary = ListeningSummary(0.0, 0.0, [])
    for block in blocks:
        events = []
        if block.lost:
            events += detector.push(np.zeros(round(block.lost * SAMPLE_RATE), np.float32))
            summary.lost += block.lost
            summary.highest_score = max(summary.highest_score, detector.score)
        events += detector.push(block.samples)
        summary.seconds += block.lost + len(block.samples) / SAMPLE_RATE
        summary.highest_score = max(summary.highest_score, detector.score)
        for event in events:
            if keep:
                summary.events.append(event)
            if on_event:
                on_event(event)
        if on_level and len(block.samples):
            power = float(np.mean(np.square(to_float_samples(block.samples), dtype=np.float64)))
            on_level(LevelReading(summary.seconds, 10 * np.log10(power + 1e-10), detector.score))
    return summary


def read_file_blocks(path: Path | str) -> Iterator[AudioBlock]:
    """Yield the blocks of an audio file at any rate; channels are averaged.

    Raises: DetectorError if it is missing or not audio that libsndfile can read.
    """
    import soundfile

    where = str(path)
    if not Path(path).is_file():
        problem = "is a folder" if Path(path).is_dir() else "no such file"
        raise DetectorError(problem, where=where, fix="give a WAV, FLAC, Ogg, Opus or MP3 file, or - for raw audio")
    try:
        with soundfile.SoundFile(where) as file:
            resampler = Resampler(file.samplerate)
            size = max(1, round(BLOCK_SECONDS * file.samplerate))
            while len(samples := file.read(size, dtype="float32", always_2d=True)):
                yield AudioBlock(resampler.push(samples.mean(axis=1)))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DetectorError(f"cannot be read as audio ({error})", where=where) from None


def read_raw_blocks(stream: IO[bytes], rate: int = SAMPLE_RATE) -> Iterator[AudioBlock]:
    """Yield the blocks of 16-bit little-endian samples from a pipe: a WAV stream, or raw mono samples at `rate` Hz.

    Raises: DetectorError for a WAV stream that is not 16-bit PCM.
    """
    channels = 1
    rest = stream.read(12)
    if rest[:4] == b"RIFF" and rest[8:] == b"WAVE":
        rate, channels = _read_wav_header(stream)
        rest = b""
    resampler = Resampler(rate)
    frame_bytes = 2 * channels
    read = getattr(stream, "read1", stream.read)  # returns what is available instead of waiting for a full block
    while data := read(frame_bytes * max(1, round(BLOCK_SECONDS * rate))):
        data = rest + data
        whole = len(data) - len(data) % frame_bytes
        rest = data[whole:]
        if whole:
            samples = to_float_samples(np.frombuffer(data[:whole], "<i2").astype(np.int16, copy=False))
            yield AudioBlock(resampler.push(samples.reshape(-1, channels).mean(axis=1)))


def read_microphone_blocks(device: str | int | None = None, backend: Any = None) -> Iterator[AudioBlock]:
    """Yield the blocks of a microphone. Audio dropped by the driver or by a full queue is reported as `lost`.

    device: number or part of the name (default: the system's default input). backend: replaces sounddevice.
    Raises: MissingDetectorExtraError without sounddevice; DetectorError without PortAudio or a microphone, or if the
    microphone stops delivering audio.
    """
    backend = backend or _import_sounddevice()
    where = str(device or "microphone")
    blocks: queue.Queue[tuple[np.ndarray, bool]] = queue.Queue(maxsize=round(_QUEUE_SECONDS / BLOCK_SECONDS))
    dropped = 0  # samples dropped because the queue was full; only the callback writes it

    def enqueue(samples: Any, frames: int, _time: Any, status: Any) -> None:
        nonlocal dropped
        block = np.frombuffer(bytes(samples), np.int16).copy()
        try:
            blocks.put_nowait((block, bool(getattr(status, "input_overflow", False))))
        except queue.Full:
            dropped += len(block)

    rate, stream = _open_microphone(backend, device, where, enqueue)
    resampler, reported = Resampler(rate), 0
    with stream:
        while True:
            try:
                block, overflow = blocks.get(timeout=_TIMEOUT_SECONDS)
            except queue.Empty:
                problem = f"the microphone delivered no audio for {_TIMEOUT_SECONDS:g} s"
                raise DetectorError(problem, where=where, fix="reconnect it") from None
            lost = dropped - reported
            reported += lost
            if overflow:
                lost += len(block)  # the driver does not report how much it dropped: about one block
            yield AudioBlock(resampler.push(to_float_samples(block)), lost / rate)


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


def _read_wav_header(stream: IO[bytes]) -> tuple[int, int]:
    """Read a WAV stream up to its samples; return the rate and the number of channels."""
    rate = channels = 0
    while len(head := stream.read(8)) == 8:
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        if kind == b"data" and rate:
            return rate, channels
        chunk = stream.read(size + size % 2)
        if kind == b"fmt " and len(chunk) >= 16:
            code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
            if (code, bits) not in ((1, 16), (0xFFFE, 16)) or not channels or not rate:
                raise DetectorError(f"unsupported WAV: {bits} bits, format {code}", where="-", fix="send 16-bit PCM")
    raise DetectorError("WAV without samples", where="-", fix="send a complete WAV, or raw 16-bit samples")


def _open_microphone(
    backend: Any, device: str | int | None, where: str, callback: Callable[..., None]
) -> tuple[int, Any]:
    """Return the rate and the stream of a microphone."""
    try:
        rate = int(backend.query_devices(device, "input")["default_samplerate"])
        stream = backend.RawInputStream(
            samplerate=rate,
            blocksize=round(BLOCK_SECONDS * rate),
            device=device,
            channels=1,
            dtype="int16",
            callback=callback,
        )
    except Exception as error:  # PortAudioError and ValueError have no common base class
        names = _list_microphones(backend)
        fix = f"select one with --microphone: {names}" if names else "connect one, or give a file"
        raise DetectorError(f"no microphone can be opened ({error})", where=where, fix=fix) from None
    return rate, stream


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise MissingDetectorExtraError("sounddevice", "listening to a microphone") from None
    except OSError as error:
        fix = "apt install libportaudio2 (or your system's PortAudio)"
        raise DetectorError(f"sounddevice cannot be used ({error})", where="microphone", fix=fix) from None
    return sounddevice


def _list_microphones(backend: Any) -> str:
    """Return the names of the input devices, at most eight."""
    try:
        names = [str(device["name"]) for device in backend.query_devices() if device["max_input_channels"] > 0]
    except Exception:
        return ""
    return ", ".join(names[:8])
