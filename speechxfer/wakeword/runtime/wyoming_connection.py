"""One client's connection to the Wyoming service, and what the connections share.

A client sends `detect`, `audio-start`, then audio chunks; it receives a `detection` per event, and `not-detected` after
`audio-stop` if there was none. What cannot be processed is answered with an `error` event and a line in the log.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from speechxfer.wakeword.runtime.detector import DETECTOR_ONNX_FILE, Detector, DetectorArtifact, ScoringModel
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.events import Trigger
from speechxfer.wakeword.runtime.saved_audio import AudioSaver
from speechxfer.wakeword.runtime.wyoming_stream import (
    EventError,
    StampedEvent,
    WyomingStream,
    fold_name,
    read_audio_format,
    read_event,
    read_names,
    read_timestamp,
    split_audio,
)

if TYPE_CHECKING:
    from wyoming.event import Event

LOG = logging.getLogger("speechxfer.wyoming")
MAX_CONNECTIONS = 64
_MAX_ERRORS = 10  # of one connection, after which it is closed
_STREAMING_SECONDS = 30.0  # s since its last audio in which a connection is not closed for a new one
_TURN_SECONDS, _TURN_CHUNKS = 0.005, 16  # processing of one client's audio, and its chunks, before others are served
_WRITE_SECONDS = 10.0  # s in which a client must take its answers
_URL = ""  # Wyoming requires the author's page; the project has none yet


class WyomingService:
    """A detector to serve, loaded once, and the connections that are open.

    trigger: (default: the calibrated one). channel: of the clients' audio, from 1 (default: the mean of all). gain: in
    dB. save_audio: folder for the audio of each detection.
    Raises: what `ScoringModel` and `AudioSaver` raise.
    """

    def __init__(
        self,
        artifact: DetectorArtifact,
        trigger: Trigger | None = None,
        *,
        channel: int | None = None,
        gain: float = 0.0,
        save_audio: Path | None = None,
    ) -> None:
        self.artifact, self.trigger, self.channel, self.gain = artifact, trigger, channel, gain
        self.save_audio = save_audio
        if save_audio is not None:
            AudioSaver(save_audio)  # a folder that cannot be created is an error before any client connects
        self.name = fold_name(artifact.word)  # in the protocol: the word in lower case, with underscores for spaces
        self.connections: list[WyomingConnection] = []
        self._model = ScoringModel(artifact.folder / DETECTOR_ONNX_FILE)

    def open_stream(self) -> WyomingStream:
        """Return a stream for a new connection."""
        detector = Detector(self.artifact, trigger=self.trigger, model=self._model)
        saver = None if self.save_audio is None else AudioSaver(self.save_audio)
        return WyomingStream(detector, channel=self.channel, gain=self.gain, saver=saver)

    def admit(self, connection: WyomingConnection) -> bool:
        """Add a connection; return whether there is room.

        If `MAX_CONNECTIONS` are open, one is closed for the new one: the oldest of those that have sent no audio, else
        the one whose audio is oldest, unless it is streaming.
        """
        if len(self.connections) >= MAX_CONNECTIONS:
            oldest = min(self.connections, key=lambda each: (each.last_audio, each.started))
            if time.monotonic() - oldest.last_audio < _STREAMING_SECONDS:
                return False
            LOG.info("%s: closed for a new connection, %d are open", oldest.peer, len(self.connections))
            self.connections.remove(oldest)
            oldest.abort()
        self.connections.append(connection)
        return True

    @cached_property
    def info(self) -> Event:
        """Wyoming's description of the service and its one model; made once, since reading the version is slow."""
        from wyoming.info import Attribution, Info, WakeModel, WakeProgram

        attribution = Attribution(name="speechxfer", url=_URL)
        version, word = metadata.version("speechxfer"), self.artifact.word
        model = WakeModel(
            name=self.name,
            attribution=attribution,
            installed=True,
            description=f"'{word}', a detector trained with speechxfer",
            version=version,
            languages=[str(self.artifact.manifest.get("settings", {}).get("language") or "en")],
            phrase=word,
        )
        program = WakeProgram(
            name="speechxfer",
            attribution=attribution,
            installed=True,
            description="Custom wake words",
            version=version,
            models=[model],
        )
        return Info(wake=[program]).event()


class WyomingConnection:
    """A client's connection, as `wyoming.server.AsyncServer` runs it."""

    def __init__(self, service: WyomingService, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.service, self.reader, self.writer = service, reader, writer
        self.started, self.last_audio = time.monotonic(), float("-inf")
        self.peer = _describe_peer(writer)
        self._running = True
        self._requested = True  # whether the client asks for this detector's word
        self._rejected = False  # whether the current stream's audio cannot be processed
        self._num_errors = 0
        self._turn = 0.0  # s of processing since other clients were served

    @cached_property
    def stream(self) -> WyomingStream:
        """The client's stream, opened when it is first needed."""
        return self.service.open_stream()

    async def run(self) -> None:
        """Receive events until the client leaves, or sends something after which no event can be read."""
        try:
            if not self.service.admit(self):
                await self._report(f"{MAX_CONNECTIONS} connections are open")
                return
            LOG.info("%s: connected, %d open", self.peer, len(self.service.connections))
            _keep_alive(self.writer)
            while self._running and (event := await read_event(self.reader)):
                started = time.monotonic()
                if not await self.handle_event(event):
                    break
                await self._take_turns(event, time.monotonic() - started)
        except EventError as error:
            await self._report_last(error.problem)
        except (ConnectionError, TimeoutError) as error:
            LOG.info("%s: connection lost (%s)", self.peer, str(error) or type(error).__name__)
            self.abort()
        except Exception as error:  # one client's problem is not another's
            text = f"{type(error).__name__}: {ascii(str(error))[:200]}"
            LOG.error("%s: %s", self.peer, text, exc_info=LOG.isEnabledFor(logging.DEBUG))
            await self._report_last("internal error")
        finally:
            if self in self.service.connections:
                self.service.connections.remove(self)
            LOG.debug("%s: disconnected", self.peer)
            self.writer.close()
            if self.writer.transport.get_write_buffer_size():  # answers that the client may never take
                asyncio.get_running_loop().call_later(_WRITE_SECONDS, self.abort)

    async def stop(self) -> None:
        """Close the connection when the server stops."""
        self._running = False
        self.writer.close()
        self.reader.feed_eof()

    def abort(self) -> None:
        """Close the connection without waiting for the client to take its answers."""
        self.writer.transport.abort()

    async def handle_event(self, event: Event) -> bool:
        """Answer an event; return False if the connection is to be closed."""
        LOG.debug("%s: %s", self.peer, ascii(event.type)[:60])
        try:
            await self._answer(event)
        except DetectorError as error:
            self._rejected = True
            await self._report(f"{event.type}: {error.problem}")
        return self._num_errors < _MAX_ERRORS

    async def _take_turns(self, event: Event, seconds: float) -> None:
        """Let other clients be served after an event, which took some seconds; after several if they are audio.

        Without it, a client is served until all that has arrived from it is processed; with one chunk at a time, a
        stream would fall behind its speaker next to many clients.
        """
        self._turn += max(seconds, _TURN_SECONDS / _TURN_CHUNKS)
        if event.type != "audio-chunk" or self._turn >= _TURN_SECONDS:
            self._turn = 0.0
            await asyncio.sleep(0)

    async def _answer(self, event: Event) -> None:
        from wyoming.ping import Ping, Pong
        from wyoming.wake import NotDetected

        kind = event.type
        if kind == "describe":
            await self._write(self.service.info)
        elif kind == "ping":
            await self._write(Pong(text=Ping.from_event(event).text).event())
        elif kind == "detect":
            self._request(read_names(event.data))
        elif kind == "audio-start":
            self._start(read_timestamp(event.data) or 0.0)
        elif kind == "audio-chunk":
            await self._process_chunk(event)
        elif kind == "audio-stop":
            await self._send(self.stream.flush())
            if not self.stream.detected:
                await self._write(NotDetected().event())
            self._start(0.0)

    def _request(self, names: Sequence[str]) -> None:
        """Start a stream, which is processed if no name is given, or one of them is that of the detector."""
        self._requested = not names or self.service.name in map(fold_name, names)
        if not self._requested:
            asked = ", ".join(repr(name)[:60] for name in names[:5])
            LOG.warning("%s: asks for %s, but only '%s' is served", self.peer, asked, self.service.name)
        self._start()

    def _start(self, clock: float | None = None) -> None:
        self._rejected = False
        self.stream.start(clock)

    async def _process_chunk(self, event: Event) -> None:
        if not self._requested or self._rejected:
            return
        form, clock = read_audio_format(event.data), read_timestamp(event.data)
        for number, piece in enumerate(split_audio(event.payload or b"", form)):
            if number:
                await asyncio.sleep(0)
                clock = None  # it continues
            self.last_audio = time.monotonic()
            await self._send(self.stream.push(piece, form, clock))

    async def _send(self, events: Sequence[StampedEvent]) -> None:
        """Send detections, and log them and new hints."""
        from wyoming.wake import Detection

        for stamped in events:
            found = stamped.event
            LOG.info("%s: '%s' at %.2f s, score %.3f", self.peer, self.service.name, found.time, found.score)
            await self._write(Detection(name=self.service.name, timestamp=stamped.timestamp).event())
        for hint in self.stream.take_hints():
            LOG.warning("%s: %s", self.peer, hint)

    async def _report(self, problem: str) -> None:
        """Send an `error` event and log it."""
        from wyoming.error import Error

        self._num_errors += 1
        LOG.warning("%s: %s", self.peer, problem)
        await self._write(Error(text=problem, code="bad-request").event())

    async def _report_last(self, problem: str) -> None:
        """Report to a client that may have left."""
        try:
            await self._report(problem)
        except (ConnectionError, TimeoutError):
            self.abort()

    async def _write(self, event: Event) -> None:
        """Send an event. Raises: TimeoutError if the client does not take it; ConnectionError."""
        from wyoming.event import async_write_event

        async with asyncio.timeout(_WRITE_SECONDS):
            await async_write_event(event, self.writer)


def _describe_peer(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) >= 2 else "client"


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the system close the connection of a client that vanished without a word."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
