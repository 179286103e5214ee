"""The detector as a Wyoming wake-word service, which Home Assistant and its satellites speak to.

One detector a connection. A client says `detect`, `audio-start`, then sound; it is told each `detection` as it comes,
and `not-detected` at `audio-stop` where there was none.
"""

from __future__ import annotations

import asyncio
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxfer.errors import MissingExtraError, UserError
from speechxfer.wakeword.runtime.detector import Detector, DetectorArtifact, to_float_samples
from speechxfer.wakeword.runtime.events import Trigger
from speechxfer.wakeword.runtime.resampling import Resampler

if TYPE_CHECKING:
    from wyoming.event import Event
    from wyoming.server import AsyncServer

_URL = ""  # Wyoming asks who made a model; the project has no page of its own yet
_SAMPLES: dict[int, Any] = {1: np.uint8, 2: np.dtype("<i2"), 4: np.dtype("<i4")}


def serve_wyoming(artifact: DetectorArtifact, address: str, trigger: Trigger | None = None) -> None:
    """Serve until interrupted. address: tcp://host:port or unix://path. Raises UserError for one that is taken."""
    asyncio.run(_run(artifact, address, trigger))


async def _run(artifact: DetectorArtifact, address: str, trigger: Trigger | None) -> None:
    server = make_server(address)
    try:
        await server.run(partial(make_handler_class(), artifact, trigger))
    except OSError as error:
        raise UserError(f"cannot be served on ({error.strerror or error})", where=address) from None


def make_server(address: str) -> AsyncServer:
    """The server for an address. Raises MissingExtraError without wyoming, UserError for what is no address."""
    try:
        from wyoming.server import AsyncServer
    except ImportError:
        raise MissingExtraError("wyoming", "wakeword", "serving Home Assistant") from None
    try:
        return AsyncServer.from_uri(address)
    except ValueError as error:
        fix = "say tcp://0.0.0.0:10400 or unix:///run/juniper.sock"
        raise UserError(f"is no address to serve on ({error})", where=address, fix=fix) from None


def make_handler_class() -> Any:
    """The class that answers one client; `wyoming` is imported here."""
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.info import Attribution, Describe, Info, WakeModel, WakeProgram
    from wyoming.ping import Ping, Pong
    from wyoming.server import AsyncEventHandler
    from wyoming.wake import Detect, Detection, NotDetected

    class Handler(AsyncEventHandler):
        def __init__(self, artifact: DetectorArtifact, trigger: Trigger | None, *streams: Any) -> None:
            super().__init__(*streams)
            self.artifact = artifact
            self.name = get_detector_name(artifact)
            self.detector = Detector(artifact, trigger=trigger)
            self._begin()

        def _begin(self) -> None:
            self.detector.reset()
            self.resampler: Resampler | None = None
            self.rate = 0
            self.detected = False
            self.offset = 0  # ms, of the client's clock at the stream's start

        async def handle_event(self, event: Event) -> bool:
            if Describe.is_type(event.type):
                await self.write_event(self._info().event())
            elif Ping.is_type(event.type):
                await self.write_event(Pong(text=Ping.from_event(event).text).event())
            elif Detect.is_type(event.type):
                names = Detect.from_event(event).names
                self.wanted = not names or self.name in names
                self._begin()
            elif AudioStart.is_type(event.type):
                self._begin()
                self.offset = AudioStart.from_event(event).timestamp or 0
            elif AudioChunk.is_type(event.type):
                await self._hear(AudioChunk.from_event(event))
            elif AudioStop.is_type(event.type):
                if not self.detected:
                    await self.write_event(NotDetected().event())
                self._begin()
            return True

        wanted = True

        async def _hear(self, chunk: AudioChunk) -> None:
            if not self.wanted:
                return
            if chunk.rate != self.rate:
                self.rate, self.resampler = chunk.rate, Resampler(chunk.rate)
            assert self.resampler is not None
            for found in self.detector.push(self.resampler.push(decode_pcm(chunk.audio, chunk.width, chunk.channels))):
                self.detected = True
                at = self.offset + round(found.time * 1000)
                await self.write_event(Detection(name=self.name, timestamp=at).event())

        def _info(self) -> Info:
            by = Attribution(name="speechxfer", url=_URL)
            version = metadata.version("speechxfer")
            described = f"'{self.artifact.word}', a detector of speechxfer"
            language = str(self.artifact.manifest.get("settings", {}).get("language") or "en")
            model = WakeModel(
                name=self.name, attribution=by, installed=True, description=described, version=version,
                languages=[language], phrase=self.artifact.word,
            )  # fmt: skip
            program = WakeProgram(
                name="speechxfer", attribution=by, installed=True, description="Wake words of your own",
                version=version, models=[model],
            )  # fmt: skip
            return Info(wake=[program])

    return Handler


def get_detector_name(artifact: DetectorArtifact) -> str:
    """The detector's name on the wire: the word in small letters, with underscores."""
    return "_".join(artifact.word.casefold().split())


def decode_pcm(data: bytes, width: int, channels: int) -> np.ndarray:
    """Interleaved PCM of `width` bytes a sample to (time,) float32 within ±1; channels are averaged."""
    kind = _SAMPLES.get(width)
    if kind is None:
        raise UserError(f"sound of {width} bytes a sample is not understood", fix="send 16-bit PCM")
    step = width * channels
    values = np.frombuffer(data[: len(data) - len(data) % step], kind)
    if width == 1:
        found = (values.astype(np.float32) - 128) / 128
    elif width == 2:
        found = to_float_samples(values.astype(np.int16, copy=False))
    else:
        found = (values / 2**31).astype(np.float32)
    return found if channels == 1 else found.reshape(-1, channels).mean(axis=1)
