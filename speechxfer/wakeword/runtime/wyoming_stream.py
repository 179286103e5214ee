"""What a Wyoming client sends, checked: events of bounded size, audio in any PCM format, and names.

The format of an event (https://github.com/rhasspy/wyoming): a line of JSON with `type`, `data`, `data_length` and
`payload_length`, then that many bytes of further data (JSON), then that many bytes of payload.
"""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxfer.wakeword.runtime.audio_sources import check_channels, select_channel
from speechxfer.wakeword.runtime.detector import Detector, to_float_samples
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.events import Event as DetectorEvent
from speechxfer.wakeword.runtime.input_hints import InputMonitor
from speechxfer.wakeword.runtime.resampling import Resampler, check_rate
from speechxfer.wakeword.runtime.saved_audio import AudioSaver

if TYPE_CHECKING:
    from wyoming.event import Event

MAX_DATA_BYTES = 65_536
MAX_PAYLOAD_BYTES = 2**21  # a minute of 16-bit audio at 16 kHz
REST_SECONDS = 10.0  # s in which the rest of an event must arrive after its first line
_PIECE_SECONDS = 1.0  # s of audio processed at once


class EventError(DetectorError):
    """An event that cannot be read; what follows it in the stream cannot be either."""


@dataclass(frozen=True)
class AudioFormat:
    """Interleaved PCM: rate in Hz, width in bytes per sample (8-bit is unsigned), and number of channels."""

    rate: int
    width: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        return self.width * self.channels


@dataclass(frozen=True)
class StampedEvent:
    """A detection. timestamp: on the client's clock, in ms."""

    timestamp: int
    event: DetectorEvent


class WyomingStream:
    """Streaming detection for one client.

    channel: number of the channel to use, from 1 (default: the mean of all). gain: in dB. saver: saves the audio of
    each event. detected: whether the current stream has had an event. The clock is that of the chunks' timestamps where
    there are any, else it starts with the timestamp of `audio-start`, or at 0.
    """

    def __init__(
        self, detector: Detector, *, channel: int | None = None, gain: float = 0.0, saver: AudioSaver | None = None
    ) -> None:
        self.detector, self.channel, self._factor = detector, channel, np.float32(10 ** (gain / 20))
        self._saver = saver
        self._monitor = InputMonitor()
        self._hints: list[str] = []
        self._clock = 0.0  # ms, of the next sample
        self.start()

    def start(self, clock: float | None = None) -> None:
        """Start a new stream. clock: the client's clock at its start, in ms (default: it continues)."""
        self.detector.reset()
        if self._saver:
            self._saver.reset()
        self._format: AudioFormat | None = None
        self._resampler: Resampler | None = None
        self._rest = b""  # of a sample whose other bytes are in the next chunk
        self._seconds = 0.0  # of audio since the start
        self._clock = self._clock if clock is None else clock
        self.detected = False

    def push(self, audio: bytes, form: AudioFormat, clock: float | None = None) -> list[StampedEvent]:
        """Take the next PCM of the stream. clock: the client's clock at its start, in ms (default: it continues).

        Raises: DetectorError if the format has no channel of the stream's number.
        """
        if clock is not None:
            self._clock = clock
        events = []
        if form != self._format or self._resampler is None:
            check_channels(form.channels, self.channel)
            events = self.detector.push(self._resampler.flush()) if self._resampler else []
            self._format, self._resampler, self._rest = form, Resampler(form.rate), b""
        data = self._rest + audio
        whole = len(data) - len(data) % form.frame_bytes
        self._rest = data[whole:]
        seconds = whole / form.frame_bytes / form.rate
        self._seconds += seconds
        self._clock += 1000 * seconds
        mono = select_channel(decode_pcm(data[:whole], form.width).reshape(-1, form.channels), self.channel)
        samples = self._resampler.push(to_float_samples(mono) * self._factor)
        if self._saver:
            self._saver.push(samples)
        events += self.detector.push(samples)
        if not self.detected:
            self._hints += self._monitor.push(samples, form.rate)
        return self._stamp(events)

    def flush(self) -> list[StampedEvent]:
        """Return the events that come shortly after the end of the stream, with the time of its end."""
        rest = self.detector.push(self._resampler.flush()) if self._resampler else []
        events = self._stamp([*rest, *self.detector.flush()])
        if not self.detected:
            self._hints += self._monitor.finish()
        return events

    def take_hints(self) -> list[str]:
        """Return the new reasons why the word may be missed."""
        hints, self._hints = self._hints, []
        return hints

    def _stamp(self, events: list[DetectorEvent]) -> list[StampedEvent]:
        self.detected = self.detected or bool(events)
        if self._saver:
            try:
                for event in events:
                    self._saver.save(event)
            except DetectorError as error:  # the detection is sent all the same
                self._hints.append(f"{error.where}: {error.problem}")
        return [
            StampedEvent(round(self._clock - 1000 * max(self._seconds - event.time, 0.0)), event) for event in events
        ]


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Read the next event; None at the end of the stream.

    Raises: EventError if it cannot be read, is too large or does not end; ConnectionError.
    """
    from wyoming.event import Event

    try:
        line = await reader.readline()
        if not line:
            return None
        header = _parse_object(line, "the header")
        kind = header.get("type")
        if not isinstance(kind, str):
            raise EventError("the header has no type")
        async with asyncio.timeout(REST_SECONDS):
            data = header.get("data") or {}
            if not isinstance(data, dict):
                raise EventError(f"the data is {_shorten(data)}, not a JSON object")
            if size := _get_length(header, "data_length", MAX_DATA_BYTES):
                data |= _parse_object(await reader.readexactly(size), "the data")
            size = _get_length(header, "payload_length", MAX_PAYLOAD_BYTES)
            payload = await reader.readexactly(size) if size else None
    except asyncio.IncompleteReadError:
        return None
    except TimeoutError:
        raise EventError(f"the rest of an event is missing after {REST_SECONDS:g} s") from None
    except ValueError:
        raise EventError("the header is a line of over 64 kB") from None
    return Event(type=kind, data=data, payload=payload)


def read_audio_format(data: Mapping[str, Any]) -> AudioFormat:
    """Return the format that the data of an `audio-start` or `audio-chunk` event states.

    Raises: DetectorError if it is incomplete or cannot be decoded.
    """
    rate, width, channels = (_get_integer(data, name) for name in ("rate", "width", "channels"))
    check_rate(rate)
    if width not in (1, 2, 3, 4):
        raise DetectorError(f"{width} bytes per sample, it can be 1 to 4", fix="send 16-bit PCM")
    check_channels(channels)
    return AudioFormat(rate, width, channels)


def read_timestamp(data: Mapping[str, Any]) -> float | None:
    """Return the timestamp of an event in ms; None if it has none.

    Raises: DetectorError unless it is a finite number.
    """
    value = data.get("timestamp")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        raise DetectorError(f"the timestamp is {_shorten(value)}, not a number of ms")
    return float(value)


def read_names(data: Mapping[str, Any]) -> list[str]:
    """Return the names that a `detect` event asks for; empty for any.

    Raises: DetectorError unless they are texts.
    """
    names = data.get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DetectorError(f"the names are {_shorten(names)}, not a list of texts")
    return names


def fold_name(name: str) -> str:
    """Return a name in lower case, with `_` for spaces and composed accents (NFC): the form in which names compare."""
    return "_".join(re.split(r"[\s_]+", unicodedata.normalize("NFC", name.casefold()).strip(" \t\r\n_")))


def decode_pcm(data: bytes, width: int) -> np.ndarray:
    """Decode little-endian PCM of 1 to 4 bytes per sample to (values,) float32 within ±1; 8-bit PCM is unsigned."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 2:
        return to_float_samples(np.frombuffer(data, "<i2").astype(np.int16, copy=False))
    if width == 3:  # as the upper three bytes of 32 bits
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data = padded.tobytes()
    return (np.frombuffer(data, "<i4") / 2**31).astype(np.float32)


def split_audio(audio: bytes, form: AudioFormat) -> Iterator[bytes]:
    """Yield the audio in pieces of at most a second, so that other clients are served between them."""
    size = round(_PIECE_SECONDS * form.rate) * form.frame_bytes
    for start in range(0, len(audio), size):
        yield audio[start : start + size]


def _parse_object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise EventError(f"{what} is not JSON: {_shorten(data)}") from None
    if not isinstance(value, dict):
        raise EventError(f"{what} is not a JSON object: {_shorten(value)}")
    return value


def _get_length(header: Mapping[str, Any], name: str, most: int) -> int:
    value = header.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise EventError(f"{name} is {_shorten(value)}, it can be 0 to {most:,}")
    return value


def _get_integer(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**53:
        raise DetectorError(f"{name} is {_shorten(value)}, not a whole number")
    return value


def _shorten(value: object) -> str:
    """Describe a client's value in at most 60 characters, none of them a control character."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
