"""Connections to the Wyoming service: names, errors as events, the log, and clients that leave or take no answers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("wyoming")

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event
from wyoming.info import Describe
from wyoming.ping import Ping
from wyoming.wake import Detect

from speechxfer.wakeword.runtime import wyoming_connection
from speechxfer.wakeword.runtime.detector import open_artifact
from speechxfer.wakeword.runtime.wyoming_connection import WyomingService
from speechxfer.wakeword.runtime.wyoming_server import make_handler_factory, make_server

FORM = {"rate": 16_000, "width": 2, "channels": 1}
Talk = Callable[[str], Awaitable[Any]]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Records of the service, and of asyncio, which reports tasks that failed."""
    caplog.set_level(logging.INFO, "speechxfer.wyoming")
    return caplog


@pytest.fixture
def serve(detector: Path, tmp_path: Path, log: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """serve(talk, **options): the result of `await talk(address)` with a server of the small detector.

    Afterwards no task has failed, and no record has a traceback.
    """

    async def run(talk: Talk, options: dict[str, Any]) -> Any:
        address = f"unix://{tmp_path / 'w.sock'}"
        server = make_server(address)
        service = WyomingService(open_artifact(detector), **options)
        await server.start(make_handler_factory(service))
        try:
            return await asyncio.wait_for(talk(address), 30)
        finally:
            await server.stop()
            await asyncio.sleep(0.05)
            assert service.connections == []

    def call(talk: Talk, **options: Any) -> Any:
        result = asyncio.run(run(talk, options))
        assert [record for record in log.records if record.exc_info or record.name == "asyncio"] == []
        return result

    return call


async def collect(client: AsyncClient) -> list[Event]:
    """The answers to everything sent so far."""
    await client.write_event(Ping().event())
    answers = []
    while (event := await client.read_event()) is not None and event.type != "pong":
        answers.append(event)
    return answers


async def play(client: AsyncClient, sound: np.ndarray, chunk_bytes: int = 1_024, **form: int) -> None:
    data = (sound * 32_767).astype("<i2").tobytes()
    for start in range(0, len(data), chunk_bytes):
        await client.write_event(AudioChunk(**{**FORM, **form}, audio=data[start : start + chunk_bytes]).event())


@pytest.mark.parametrize("chunk_bytes", [1_024, 1_025])
def test_a_word_at_the_end_of_the_audio(
    serve: Any, sound: np.ndarray, times: list[float], log: pytest.LogCaptureFixture, chunk_bytes: int
) -> None:
    async def talk(address: str) -> list[Event]:
        async with AsyncClient.from_uri(address) as client:
            await client.write_event(AudioStart(**FORM, timestamp=500).event())
            await play(client, sound[: round((times[0] - 0.03) * 16_000)], chunk_bytes)
            assert await collect(client) == []
            await client.write_event(AudioStop().event())
            return await collect(client)

    (event,) = serve(talk)
    assert event.type == "detection" and event.data["timestamp"] == pytest.approx(500 + 1000 * times[0], abs=60)
    assert "connected, 1 open" in log.text and log.text.count("'tune' at ") == 1 and "score" in log.text


@pytest.mark.parametrize(
    ("names", "served"),
    [([], True), (["Tune"], True), ([" TUNE_ "], True), (["alexa", "tune"], True), (["tunes"], False)],
)
def test_the_names_that_a_client_asks_for(
    serve: Any, sound: np.ndarray, log: pytest.LogCaptureFixture, names: list[str], served: bool
) -> None:
    async def talk(address: str) -> list[Event]:
        async with AsyncClient.from_uri(address) as client:
            await client.write_event(Detect(names=names).event())
            await play(client, sound, 32_000)
            return await collect(client)

    assert len(serve(talk)) == (2 if served else 0)
    assert ("asks for 'tunes', but only 'tune' is served" in log.text) is not served


def test_a_start_before_the_request_sets_the_clock(serve: Any, sound: np.ndarray, times: list[float]) -> None:
    async def talk(address: str) -> list[Event]:
        async with AsyncClient.from_uri(address) as client:
            await client.write_event(AudioStart(**FORM, timestamp=5_000).event())
            await client.write_event(Detect(names=["tune"]).event())
            await play(client, sound, 32_000)
            return await collect(client)

    assert [e.data["timestamp"] for e in serve(talk)] == pytest.approx([5_000 + 1000 * t for t in times], abs=50)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"rate": 3_000_017}, "audio-chunk: the sampling rate is 3,000,017 Hz, it can be 4,000 to 192,000 Hz"),
        ({"rate": 0}, "audio-chunk: the sampling rate is 0 Hz"),
        ({"rate": None}, "audio-chunk: rate is None, not a whole number"),
        ({"width": 5}, "audio-chunk: 5 bytes per sample, it can be 1 to 4"),
        ({"channels": 0}, "audio-chunk: 0 channels, it can be 1 to 64"),
    ],
)
def test_audio_that_cannot_be_read_is_an_error_event_and_the_connection_stays(
    serve: Any, sound: np.ndarray, log: pytest.LogCaptureFixture, form: dict[str, Any], text: str
) -> None:
    async def talk(address: str) -> tuple[list[Event], list[Event]]:
        async with AsyncClient.from_uri(address) as client:
            await play(client, sound[:16_000], **form)
            wrong = await collect(client)
            await client.write_event(AudioStart(**FORM).event())
            await play(client, sound, 32_000)
            return wrong, await collect(client)

    wrong, right = serve(talk)
    assert [event.type for event in wrong] == ["error"]  # once, not for each chunk
    assert wrong[0].data["text"].startswith(text)
    assert [event.type for event in right] == ["detection", "detection"]
    assert log.text.count(text) == 1


def test_requests_that_cannot_be_read_close_the_connection_in_the_end(serve: Any) -> None:
    async def talk(address: str) -> list[Event]:
        async with AsyncClient.from_uri(address) as client:
            for _ in range(30):
                await client.write_event(Event("detect", {"names": 7}))
            answers = []
            while (event := await client.read_event()) is not None:
                answers.append(event)
            return answers

    answers = serve(talk)
    assert {event.type for event in answers} == {"error"} and len(answers) == 10


@pytest.mark.parametrize(
    "data",
    [
        b"[1,2]\n",
        b"null\n",
        b"{}\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x00\xff" * 500 + b"\n",
        b"x" * 200_000,
        b'{"type": "describe", "payload_length": 1000000000000}\n' + bytes(100_000),
    ],
)
def test_what_is_no_event_is_answered_and_ends_the_connection(serve: Any, data: bytes) -> None:
    async def talk(address: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
        writer.write(data)
        answer = b""
        try:
            while piece := await reader.read(1_000):
                answer += piece
        except ConnectionResetError:  # what was not read is lost
            pass
        writer.close()
        return answer

    answer = serve(talk)
    assert json.loads(answer.splitlines()[0])["type"] == "error"


def test_clients_that_leave_with_answers_unread_are_a_line_each(serve: Any, log: pytest.LogCaptureFixture) -> None:
    async def talk(address: str) -> None:
        for _ in range(20):
            _reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
            writer.write(b'{"type": "describe"}\n' * 3)
            await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.2)

    serve(talk)
    assert log.text.count(": connected, ") == 20
    assert {record.levelname for record in log.records} == {"INFO"}


def test_a_client_that_takes_no_answers_is_disconnected(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wyoming_connection, "_WRITE_SECONDS", 0.05)

    async def talk(address: str) -> int:
        _reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"), limit=1)
        sent = 0
        try:
            while sent < 100_000:
                writer.write(b'{"type": "describe"}\n' * 100)
                sent += 100
                async with asyncio.timeout(5):
                    await writer.drain()
        except (ConnectionError, TimeoutError):
            pass
        return sent

    assert serve(talk) < 100_000


def test_one_client_s_failure_is_a_line_and_not_another_s(
    serve: Any, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """An error that nobody expected."""

    async def talk(address: str) -> tuple[list[Event | None], list[Event]]:
        async with AsyncClient.from_uri(address) as other, AsyncClient.from_uri(address) as client:
            assert await collect(other) == []
            monkeypatch.setattr(WyomingService, "info", property(lambda self: 1 / 0))
            await client.write_event(Describe().event())
            answers = [await client.read_event(), await client.read_event()]
            return answers, await collect(other)

    (error, end), others = serve(talk)
    assert error.type == "error" and error.data["text"] == "internal error" and end is None and others == []
    assert "ZeroDivisionError: 'division by zero'" in log.text


def test_the_oldest_idle_connection_is_closed_for_a_new_one(
    serve: Any, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wyoming_connection, "MAX_CONNECTIONS", 3)

    async def talk(address: str) -> tuple[Any, ...]:
        clients = [AsyncClient.from_uri(address) for _ in range(5)]
        for client in clients[:2]:
            await client.connect()
        await play(clients[0], np.zeros(1_000))
        for client in clients[:2]:
            await collect(client)
        for client in clients[2:]:
            await client.connect()
            await collect(client)
        closed = [await client.read_event() for client in clients[1:3]]
        await play(clients[3], np.zeros(1_000))
        await play(clients[4], np.zeros(1_000))
        streaming = [await collect(clients[index]) for index in (0, 3, 4)]
        refused = AsyncClient.from_uri(address)
        await refused.connect()
        answer = await refused.read_event()
        for client in (*clients, refused):
            await client.disconnect()
        return closed, streaming, answer

    closed, streaming, answer = serve(talk)
    assert closed == [None, None] and streaming == [[], [], []]
    assert answer.type == "error" and answer.data["text"] == "3 connections are open"
    assert log.text.count("closed for a new connection") == 2


def test_the_model_is_loaded_once(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    real = wyoming_connection.ScoringModel
    monkeypatch.setattr(wyoming_connection, "ScoringModel", lambda path: loaded.append(path) or real(path))

    async def talk(address: str) -> None:
        clients = [AsyncClient.from_uri(address) for _ in range(5)]
        for client in clients:
            await client.connect()
            await play(client, np.zeros(16_000))
        for client in clients:
            await collect(client)
            await client.disconnect()

    serve(talk)
    assert len(loaded) == 1


def test_gain_channel_and_hints(
    serve: Any, sound: np.ndarray, log: pytest.LogCaptureFixture, times: list[float]
) -> None:
    quiet = np.column_stack([np.zeros(len(sound)), sound * 1e-2]).reshape(-1)

    async def talk(address: str) -> list[Event]:
        async with AsyncClient.from_uri(address) as client:
            await play(client, quiet, 64_000, channels=2)
            return await collect(client)

    assert len(serve(talk, channel=2, gain=40.0)) == len(times)
    assert "too quiet" not in log.text
    assert serve(talk, channel=2) == []
    assert "if it is speech, it is too quiet" in log.text
