"""Serve a detector as a Wyoming wake-word service, the protocol of Home Assistant and its satellites.

Each connection has its own detector. A client sends `detect`, `audio-start`, then audio chunks; it receives a
`detection` per event, and `not-detected` after `audio-stop` if there was none.
"""

from __future__ import annotations

import asyncio
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxfer.wakeword.runtime.detector import Detector, DetectorArtifact, to_float_samples
from speechxfer.wakeword.runtime.errors import DetectorError, MissingDetectorExtraError
from speechxfer.wakeword.runtime.events import Trigger
from speechxfer.wakeword.runtime.resampling import Resampler

if TYPE_CHECKING:
    from wyoming.event import Event
    from wyoming.info import Info
    from wyoming.server import AsyncServer

_URL = ""  # Wyoming requires the author's page; the project has none yet
_SAMPLE_TYPES: dict[int, Any] = {1: np.uint8, 2: np.dtype("<i2"), 4: np.dtype("<i4")}


class WyomingStream:
    """Streaming detection for one client. `detected`: whether the current stream has had an event."""

    def __init__(self, artifact: DetectorArtifact, trigger: Trigger | None) -> None:
        self.detector = Detector(artifact, trigger=trigger)
        self.start()

    def start(self, offset: int = 0) -> None:
        """Start a new stream. offset: the client's clock at its start, in ms."""
        self.detector.reset()
        self.resampler: Resampler | None = None
        self.rate = 0
        self.detected = False
        self.offset = offset

    def push(self, audio: bytes, rate: int, width: int, channels: int) -> list[int]:
        """Take PCM of `width` bytes per sample at `rate` Hz; return the events' times on the client's clock, in ms."""
        if rate != self.rate or self.resampler is None:
            self.rate, self.resampler = rate, Resampler(rate)
        events = self.detector.push(self.resampler.push(decode_pcm(audio, width, channels)))
        self.detected = self.detected or bool(events)
        return [self.offset + round(event.time * 1000) for event in events]


def serve_wyoming(artifact: DetectorArtifact, address: str, trigger: Trigger | None = None) -> None:
    """Serve until interrupted. address: tcp://host:port or unix://path.

    Raises: MissingDetectorExtraError without wyoming; DetectorError for an address that is invalid or in use.
    """
    asyncio.run(_serve(artifact, address, trigger))


async def _serve(artifact: DetectorArtifact, address: str, trigger: Trigger | None) -> None:
    server = make_server(address)
    try:
        await server.run(partial(make_handler_class(), artifact, trigger))
    except OSError as error:
        raise DetectorError(f"cannot be served on ({error.strerror or error})", where=address) from None


def make_server(address: str) -> AsyncServer:
    """Return the server for an address.

    Raises: MissingDetectorExtraError without wyoming; DetectorError for an invalid address.
    """
    try:
        from wyoming.server import AsyncServer
    except ImportError:
        raise MissingDetectorExtraError("wyoming", "serving Home Assistant") from None
    try:
        return AsyncServer.from_uri(address)
    except ValueError as error:
        fix = "use e.g. tcp://0.0.0.0:10400 or unix:///run/juniper.sock"
        raise DetectorError(f"invalid address ({error})", where=address, fix=fix) from None


def make_handler_class() -> Any:
    """Return the class that handles one client's connection; a function so that `wyoming` is imported only here."""
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.info import Describe
    from wyoming.ping import Ping, Pong
    from wyoming.server import AsyncEventHandler
    from wyoming.wake import Detect, Detection, NotDetected

    class Handler(AsyncEventHandler):
        def __init__(self, artifact: DetectorArtifact, trigger: Trigger | None, *streams: Any) -> None:
            super().__init__(*streams)
            self.artifact = artifact
            self.name = get_detector_name(artifact)
            self.stream = WyomingStream(artifact, trigger)
            self.requested = True  # whether the client asked for this detector's word

        async def handle_event(self, event: Event) -> bool:
            if Describe.is_type(event.type):
                await self.write_event(make_service_info(self.artifact).event())
            elif Ping.is_type(event.type):
                await self.write_event(Pong(text=Ping.from_event(event).text).event())
            elif Detect.is_type(event.type):
                names = Detect.from_event(event).names
                self.requested = not names or self.name in names
                self.stream.start()
            elif AudioStart.is_type(event.type):
                self.stream.start(AudioStart.from_event(event).timestamp or 0)
            elif AudioChunk.is_type(event.type) and self.requested:
                chunk = AudioChunk.from_event(event)
                for time in self.stream.push(chunk.audio, chunk.rate, chunk.width, chunk.channels):
                    await self.write_event(Detection(name=self.name, timestamp=time).event())
            elif AudioStop.is_type(event.type):
                if not self.stream.detected:
                    await self.write_event(NotDetected().event())
                self.stream.start()
            return True

    return Handler


def make_service_info(artifact: DetectorArtifact) -> Info:
    """Return Wyoming's description of the service and its one model."""
    from wyoming.info import Attribution, Info, WakeModel, WakeProgram

    attribution = Attribution(name="speechxfer", url=_URL)
    version = metadata.version("speechxfer")
    model = WakeModel(
        name=get_detector_name(artifact),
        attribution=attribution,
        installed=True,
        description=f"'{artifact.word}', a detector trained with speechxfer",
        version=version,
        languages=[str(artifact.manifest.get("settings", {}).get("language") or "en")],
        phrase=artifact.word,
    )
    program = WakeProgram(
        name="speechxfer",
        attribution=attribution,
        installed=True,
        description="Custom wake words",
        version=version,
        models=[model],
    )
    return Info(wake=[program])


def get_detector_name(artifact: DetectorArtifact) -> str:
    """Return the detector's name in the protocol: the word in lower case, with underscores for spaces."""
    return "_".join(artifact.word.casefold().split())


def decode_pcm(data: bytes, width: int, channels: int) -> np.ndarray:
    """Decode interleaved PCM of `width` bytes per sample to (time,) float32 within ±1; channels are averaged.

    Raises: DetectorError unless `width` is 1, 2 or 4.
    """
    sample_type = _SAMPLE_TYPES.get(width)
    if sample_type is None:
        raise DetectorError(f"unsupported audio: {width} bytes per sample", fix="send 16-bit PCM")
    frame_bytes = width * channels
    values = np.frombuffer(data[: len(data) - len(data) % frame_bytes], sample_type)
    if width == 1:
        samples = (values.astype(np.float32) - 128) / 128
    elif width == 2:
        samples = to_float_samples(values.astype(np.int16, copy=False))
    else:
        samples = (values / 2**31).astype(np.float32)
    return samples if channels == 1 else samples.reshape(-1, channels).mean(axis=1)
