"""What a Wyoming client sends: PCM of any width in chunks of any size, clocks, names, and events that are no events."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechxfer.wakeword.runtime import wyoming_stream
from speechxfer.wakeword.runtime.detector import Detector
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.wyoming_stream import (
    AudioFormat,
    EventError,
    WyomingStream,
    decode_pcm,
    fold_name,
    read_audio_format,
    read_event,
    read_names,
    read_timestamp,
    split_audio,
)

RATE = 16_000


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_of_every_width(width: int) -> None:
    values = np.array([0.5, -0.5, 0.25, -1.0, 0.0])
    scaled = [round(value * 2 ** (8 * width - 1)) + (128 if width == 1 else 0) for value in values]
    data = b"".join(value.to_bytes(width, "little", signed=width > 1) for value in scaled)
    found = decode_pcm(data, width)
    assert found.dtype == np.float32 and found == pytest.approx(values, abs=1e-6)


def encode(sound: np.ndarray, width: int, channels: int) -> bytes:
    """The sound as PCM; every channel has it."""
    scale = 2 ** (8 * width - 1) - 1
    values = np.repeat(np.round(np.clip(sound, -1, 1) * scale).astype(np.int64), channels)
    if width == 1:
        return (values + 128).astype(np.uint8).tobytes()
    return values.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width].tobytes()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(1, 9_000).map(lambda size: max(size, 333)),
    width=st.integers(2, 4),
    channels=st.sampled_from([1, 2, 3]),
)
def test_chunks_of_any_size_give_the_same_events(
    detector: Path, sound: np.ndarray, times: list[float], size: int, width: int, channels: int
) -> None:
    """Also if a chunk ends in the middle of a sample."""
    stream, form = WyomingStream(Detector(detector)), AudioFormat(RATE, width, channels)
    data = encode(sound[: round((times[0] + 0.2) * RATE)], width, channels)
    found = [e for start in range(0, len(data), size) for e in stream.push(data[start : start + size], form)]
    assert [event.timestamp for event in found] == pytest.approx([1000 * times[0]], abs=50)
    assert stream.detected


def push_all(stream: WyomingStream, sound: np.ndarray, clocks: dict[int, float] | None = None) -> list[int]:
    """Push chunks of 32 ms; clocks: of the chunks with these numbers."""
    data, form = encode(sound, 2, 1), AudioFormat(RATE, 2, 1)
    stamps = []
    for number, start in enumerate(range(0, len(data), 1_024)):
        clock = (clocks or {}).get(number)
        stamps += [event.timestamp for event in stream.push(data[start : start + 1_024], form, clock)]
    return stamps


def test_detections_have_the_time_of_the_chunks_clock(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    """Home Assistant stamps the chunks, not `audio-start`; others do the opposite, or neither."""
    expected = np.array([1000 * time for time in times])
    stream = WyomingStream(Detector(detector))
    assert push_all(stream, sound) == pytest.approx(expected, abs=50)
    stream.start(5_000)
    assert push_all(stream, sound) == pytest.approx(expected + 5_000, abs=50)
    stamps = {number: 19_785_407 + 32 * number for number in range(len(sound) // 512 + 1)}
    stream.start(0)
    assert push_all(stream, sound, stamps) == pytest.approx(expected + 19_785_407, abs=50)
    stream.start(0)
    assert push_all(stream, sound, {0: 700.0}) == pytest.approx(expected + 700, abs=50)


def test_a_start_without_a_clock_continues_it(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    stream = WyomingStream(Detector(detector))
    stream.start(7_000)  # audio-start, then detect
    stream.start()
    assert push_all(stream, sound) == pytest.approx([7_000 + 1000 * time for time in times], abs=50)


def test_a_word_at_the_end_has_the_time_of_the_end(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    end = round((times[0] - 0.03) * RATE)
    stream = WyomingStream(Detector(detector))
    assert push_all(stream, sound[:end], {0: 100.0}) == []
    (event,) = stream.flush()
    assert event.timestamp == pytest.approx(100 + 1000 * end / RATE, abs=60) and stream.detected


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_the_end_of_resampled_audio_is_flushed_too(detector: Path, rate: int) -> None:
    stream = WyomingStream(Detector(detector))
    pushed: list[int] = []
    stream.detector.push = lambda samples: pushed.append(len(samples)) or []  # type: ignore[method-assign,func-returns-value]
    stream.push(bytes(2 * rate), AudioFormat(rate, 2, 1))
    stream.flush()
    assert sum(pushed) == pytest.approx(2 * RATE, abs=2)  # the audio and a second of silence


def test_a_format_that_changes_within_a_stream(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    half = round(0.5 * (times[0] + times[1]) * RATE)
    stream = WyomingStream(Detector(detector))
    found = stream.push(encode(sound[:half], 2, 1) + b"x", AudioFormat(RATE, 2, 1))
    found += stream.push(encode(sound[half:], 3, 2), AudioFormat(RATE, 3, 2))
    assert [event.timestamp for event in found] == pytest.approx([1000 * time for time in times], abs=50)


def test_channel_and_gain(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    quiet = np.column_stack([np.zeros(len(sound)), sound * 1e-2]).reshape(-1)
    stream = WyomingStream(Detector(detector), channel=2, gain=40.0)
    found = stream.push(encode(quiet, 4, 1), AudioFormat(RATE, 4, 2))
    assert [event.timestamp for event in found] == pytest.approx([1000 * time for time in times], abs=50)
    with pytest.raises(DetectorError, match="1 channel, so no channel 2"):
        stream.push(bytes(100), AudioFormat(RATE, 2, 1))


def test_hints_come_once(detector: Path) -> None:
    stream = WyomingStream(Detector(detector))
    stream.push(bytes(16_000), AudioFormat(8_000, 2, 1))
    (hint,) = stream.take_hints()
    assert hint.startswith("8,000 Hz") and stream.take_hints() == []
    stream.flush()
    assert [hint.split()[0] for hint in stream.take_hints()] == ["silence"]


@pytest.mark.parametrize(
    "name",
    ["hey käthe", "HEY_KÄTHE", " Hey  Käthe ", "hey ka\u0308the", "Hey_ Käthe_", "hey\u00a0käthe", "HEY KA\u0308THE"],
)
def test_names_compare_without_case_underscores_and_composition(name: str) -> None:
    assert fold_name(name) == "hey_käthe"


def test_other_names_differ() -> None:
    assert len({fold_name(name) for name in ("hey käthe", "hey kathe", "käthe", "heykäthe", "")}) == 5


async def feed(data: bytes, *, close: bool = True) -> Any:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    if close:
        reader.feed_eof()
    return await read_event(reader)


def test_events_as_wyoming_writes_them() -> None:
    data = json.dumps({"rate": 16_000}).encode()
    header = {"type": "audio-chunk", "data": {"width": 2}, "data_length": len(data), "payload_length": 3}
    event = asyncio.run(feed(json.dumps(header).encode() + b"\n" + data + b"abc"))
    assert (event.type, event.data, event.payload) == ("audio-chunk", {"width": 2, "rate": 16_000}, b"abc")
    assert asyncio.run(feed(b'{"type": "ping"}\n')).data == {}
    assert asyncio.run(feed(b"")) is None
    assert asyncio.run(feed(b'{"type": "a", "payload_length": 5}\nabc')) is None  # the client left within an event


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[1,2]\n", "not a JSON object: a list"),
        (b"null\n", "not a JSON object: None"),
        (b"{}\n", "no type"),
        (b'{"type": 5}\n', "no type"),
        (b"GET / HTTP/1.1\r\n", "not JSON: b'GET / HTTP/1.1"),
        (b"\xff\xfe\x00\n", "not JSON"),
        (b"[" * 60_000 + b"\n", "not JSON"),
        (b"x" * 200_000, "a line of over 64 kB"),
        (b'{"type": "a", "data": 5}\n', "the data is 5"),
        (b'{"type": "a", "data_length": 4}\nnull', "the data is not a JSON object"),
        (b'{"type": "a", "data_length": -4}\n', "data_length is -4"),
        (b'{"type": "a", "data_length": 70000}\n', "data_length is 70000, it can be 0 to 65,536"),
        (b'{"type": "a", "payload_length": 1000000000000}\n', "payload_length is 1000000000000"),
        (b'{"type": "a", "payload_length": 1e3}\n', "payload_length is 1000.0"),
        (b'{"type": "a", "payload_length": "x"}\n', "payload_length is 'x'"),
        (b'{"type": "a", "payload_length": true}\n', "payload_length is True"),
    ],
)
def test_what_is_no_event_is_one_message(data: bytes, words: str) -> None:
    with pytest.raises(EventError) as error:
        asyncio.run(feed(data))
    assert words in str(error.value) and len(str(error.value)) < 200


def test_an_event_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wyoming_stream, "REST_SECONDS", 0.02)
    with pytest.raises(EventError, match="missing after"):
        asyncio.run(feed(b'{"type": "a", "payload_length": 5}\nabc', close=False))


@settings(max_examples=100)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode() + b"\n"))
def test_any_bytes_are_an_event_or_one_message(data: bytes) -> None:
    try:
        event = asyncio.run(feed(data))
    except EventError as error:
        assert str(error).isprintable()
    else:
        assert event is None or isinstance(event.type, str)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rate", 0, "the sampling rate is 0 Hz"),
        ("rate", 1, "the sampling rate is 1 Hz"),
        ("rate", 3_000_017, "the sampling rate is 3,000,017 Hz"),
        ("rate", None, "rate is None, not a whole number"),
        ("rate", 16_000.0, "rate is 16000.0"),
        pytest.param("rate", 10**400, "rate is 1000", id="huge"),
        ("width", 0, "0 bytes per sample"),
        ("width", 5, "5 bytes per sample"),
        ("width", True, "width is True"),
        ("channels", 0, "0 channels"),
        ("channels", 65, "65 channels"),
        ("channels", "x", "channels is 'x'"),
        ("channels", [2], "channels is a list"),
    ],
)
def test_a_format_that_is_none(name: str, value: Any, words: str) -> None:
    form = {"rate": 16_000, "width": 2, "channels": 1}
    assert read_audio_format(form) == AudioFormat(16_000, 2, 1)
    with pytest.raises(DetectorError) as error:
        read_audio_format({**form, name: value})
    assert words in str(error.value) and len(str(error.value)) < 200


def test_timestamps_and_names() -> None:
    assert read_timestamp({}) is None and read_timestamp({"timestamp": 5}) == 5.0
    for value in ("5", True, float("nan"), float("inf"), 10**30, [5]):
        with pytest.raises(DetectorError, match="the timestamp is"):
            read_timestamp({"timestamp": value})
    assert read_names({}) == read_names({"names": None}) == [] and read_names({"names": ["a"]}) == ["a"]
    for names in ("tune", [1], {"tune": 1}):
        with pytest.raises(DetectorError, match="the names are"):
            read_names({"names": names})


def test_audio_is_processed_a_second_at_a_time() -> None:
    form = AudioFormat(8_000, 2, 3)
    audio = bytes(range(256)) * 500
    pieces = list(split_audio(audio, form))
    assert b"".join(pieces) == audio and {len(piece) for piece in pieces[:-1]} == {48_000}
