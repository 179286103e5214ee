"""A detector on live sound: a file, standard input, or a microphone. Nothing here imports torch."""

from __future__ import annotations

import queue
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile

from speechxfer.errors import MissingExtraError, UserError
from speechxfer.wakeword.runtime.detector import Detector, to_float_samples
from speechxfer.wakeword.runtime.events import Event
from speechxfer.wakeword.runtime.features import SAMPLE_RATE
from speechxfer.wakeword.runtime.resampling import Resampler

BLOCK_SECONDS = 0.08  # s of sound handled at once
_WAITING = 10.0  # s of microphone sound that may wait; what is later is lost, and counted
_SILENT_FOR = 5.0  # s without a block after which a microphone is given up


@dataclass(frozen=True)
class AudioBlock:
    """Sound as it came. samples: (time,) float32 at 16 kHz. lost: seconds before it that never came."""

    samples: np.ndarray
    lost: float = 0.0


@dataclass(frozen=True)
class LevelReading:
    """What a level line shows. time: seconds heard; decibels: of full scale; score: the highest of the block."""

    time: float
    decibels: float
    score: float


@dataclass
class ListeningSummary:
    """A finished listening. seconds of sound, seconds of it lost, and the events."""

    seconds: float
    lost: float
    events: list[Event]


def listen_to_blocks(
    detector: Detector,
    blocks: Iterator[AudioBlock],
    *,
    on_event: Callable[[Event], None] | None = None,
    on_level: Callable[[LevelReading], None] | None = None,
    keep: bool = True,
) -> ListeningSummary:
    """Play blocks to a detector until they end. Lost sound counts as silence, so that times stay true.

    keep: False forgets events once they were told, for listening without end.
    """
    detector.reset()
    heard = ListeningSummary(0.0, 0.0, [])
    for block in blocks:
        events = []
        if block.lost:
            events += detector.push(np.zeros(round(block.lost * SAMPLE_RATE), np.float32))
            heard.lost += block.lost
        events += detector.push(block.samples)
        heard.seconds += block.lost + len(block.samples) / SAMPLE_RATE
        for event in events:
            if keep:
                heard.events.append(event)
            if on_event:
                on_event(event)
        if on_level and len(block.samples):
            power = float(np.mean(np.square(to_float_samples(block.samples), dtype=np.float64)))
            on_level(LevelReading(heard.seconds, 10 * np.log10(power + 1e-10), detector.score))
    return heard


def read_file_blocks(path: Path | str) -> Iterator[AudioBlock]:
    """A file's sound, of any rate; channels are averaged. Raises UserError for one that is no readable audio."""
    where = str(path)
    if not Path(path).is_file():
        problem = "is a folder" if Path(path).is_dir() else "no such file"
        raise UserError(problem, where=where, fix="give a WAV, FLAC, Ogg, Opus or MP3 file, or - for raw sound")
    try:
        with soundfile.SoundFile(where) as file:
            resampler = Resampler(file.samplerate)
            size = max(1, round(BLOCK_SECONDS * file.samplerate))
            while len(samples := file.read(size, dtype="float32", always_2d=True)):
                yield AudioBlock(resampler.push(samples.mean(axis=1)))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(f"cannot be read as audio ({error})", where=where) from None


def read_raw_blocks(stream: IO[bytes], rate: int = SAMPLE_RATE) -> Iterator[AudioBlock]:
    """16-bit little-endian samples from a pipe: a WAV, which says its rate and channels, or raw mono at `rate`.

    Raises UserError for a WAV of other samples.
    """
    channels = 1
    rest = stream.read(12)
    if rest[:4] == b"RIFF" and rest[8:] == b"WAVE":
        rate, channels = _wav_header(stream)
        rest = b""
    resampler = Resampler(rate)
    step = 2 * channels
    read = getattr(stream, "read1", stream.read)  # what is there, rather than a full block
    while data := read(step * max(1, round(BLOCK_SECONDS * rate))):
        data = rest + data
        whole = len(data) - len(data) % step
        rest = data[whole:]
        if whole:
            samples = to_float_samples(np.frombuffer(data[:whole], "<i2").astype(np.int16, copy=False))
            yield AudioBlock(resampler.push(samples.reshape(-1, channels).mean(axis=1)))


def _wav_header(stream: IO[bytes]) -> tuple[int, int]:
    """Rate and channels of a WAV stream, read as far as its samples."""
    rate = channels = 0
    while len(head := stream.read(8)) == 8:
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        if kind == b"data" and rate:
            return rate, channels
        chunk = stream.read(size + size % 2)
        if kind == b"fmt " and len(chunk) >= 16:
            code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
            if (code, bits) not in ((1, 16), (0xFFFE, 16)) or not channels or not rate:
                raise UserError(f"a WAV of {bits} bits (format {code})", where="-", fix="send 16-bit PCM")
    raise UserError("a WAV without samples", where="-", fix="send a whole WAV, or raw 16-bit samples")


def read_microphone_blocks(device: str | int | None = None, backend: Any = None) -> Iterator[AudioBlock]:
    """A microphone's sound, by sounddevice. device: its number or a part of its name; None is the system's own.

    Sound that the driver dropped, or that waited too long here, is told as lost. backend: stands for sounddevice.
    Raises MissingExtraError without sounddevice, UserError without PortAudio or a microphone, or when it falls silent.
    """
    sound = backend or _sounddevice()
    waiting: queue.Queue[tuple[np.ndarray, bool]] = queue.Queue(maxsize=round(_WAITING / BLOCK_SECONDS))
    dropped = 0  # samples, by a full queue; only the callback writes it

    def keep(samples: Any, frames: int, _time: Any, status: Any) -> None:
        nonlocal dropped
        block = np.frombuffer(bytes(samples), np.int16).copy()
        try:
            waiting.put_nowait((block, bool(getattr(status, "input_overflow", False))))
        except queue.Full:
            dropped += len(block)

    try:
        rate = int(sound.query_devices(device, "input")["default_samplerate"])
        stream = sound.RawInputStream(
            samplerate=rate,
            blocksize=round(BLOCK_SECONDS * rate),
            device=device,
            channels=1,
            dtype="int16",
            callback=keep,
        )
    except Exception as error:  # PortAudioError, ValueError: no common ancestor
        found = _inputs(sound)
        fix = f"name one of these with --microphone: {found}" if found else "connect one, or give a file"
        raise UserError(f"no microphone can be opened ({error})", where=str(device or "microphone"), fix=fix) from None
    resampler, told = Resampler(rate), 0
    with stream:
        while True:
            try:
                block, overflow = waiting.get(timeout=_SILENT_FOR)
            except queue.Empty:
                raise UserError(
                    f"the microphone gave nothing for {_SILENT_FOR:g} s", where=str(device or "microphone"),
                    fix="connect it again",
                ) from None  # fmt: skip
            lost = dropped - told
            told += lost
            if overflow:
                lost += len(block)  # how much the driver dropped is not said: about a block
            yield AudioBlock(resampler.push(to_float_samples(block)), lost / rate)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise MissingExtraError("sounddevice", "wakeword", "listening to a microphone") from None
    except OSError as error:
        fix = "apt install libportaudio2 (or your system's PortAudio)"
        raise UserError(f"sounddevice cannot be used ({error})", where="microphone", fix=fix) from None
    return sounddevice


def _inputs(sound: Any) -> str:
    """The names of the microphones that there are, at most eight."""
    try:
        names = [str(d["name"]) for d in sound.query_devices() if d["max_input_channels"] > 0]
    except Exception:
        return ""
    return ", ".join(names[:8])


def format_level(level: LevelReading, word: str, threshold: float) -> str:
    """One line of 79 characters: time, loudness, score against the threshold."""
    loud = round(min(max((level.decibels + 60) / 60, 0), 1) * 20)
    high = round(min(max(level.score, 0), 1) * 20)
    mark = "*" if level.score >= threshold else " "
    minutes, seconds = divmod(level.time, 60)
    return (
        f"{int(minutes):3}:{seconds:04.1f}  [{'=' * loud:<20}] {level.decibels:4.0f} dB  "
        f"[{'#' * high:<20}] {level.score:.2f}{mark}{word[:12]}"
    )


def is_terminal() -> bool:
    """Whether a person watches the level line, which goes to standard error."""
    return sys.stderr.isatty()
