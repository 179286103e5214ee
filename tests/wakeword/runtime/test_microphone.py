"""A detector on a microphone, by a stand-in for sounddevice: dropped audio, channels, no microphone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from speechxfer.wakeword.runtime.audio_sources import AudioBlock, listen_to_blocks
from speechxfer.wakeword.runtime.detector import Detector
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.microphone import read_microphone_blocks

RATE = 16_000


class Microphone:
    """Stands for sounddevice: plays `sound`, (time,) or (time, channels), when the stream is opened.

    only: the numbers of channels with which the device opens (default: any).
    """

    def __init__(self, sound: np.ndarray, overflow_at: int = -1, only: tuple[int, ...] = ()) -> None:
        self.samples, self.overflow_at, self.only = (sound * 32_767).astype(np.int16), overflow_at, only
        self.samples = self.samples.reshape(len(sound), 1 if sound.ndim == 1 else sound.shape[1])

    def query_devices(self, *asked: Any) -> Any:
        device = {"name": "array", "default_samplerate": 16_000.0, "max_input_channels": self.samples.shape[1]}
        return device if asked else [device, {"name": "webcam", "max_input_channels": 1}]

    def RawInputStream(self, *, blocksize: int, callback: Any, channels: int, **_: Any) -> Microphone:  # noqa: N802
        if self.only and channels not in self.only:
            raise ValueError("Invalid number of channels [PaErrorCode -9998]")
        for number, start in enumerate(range(0, len(self.samples), blocksize)):
            status = SimpleNamespace(input_overflow=number == self.overflow_at)
            block = self.samples[start : start + blocksize, :channels]
            callback(block.tobytes(), len(block), None, status)
        return self

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def until(blocks: Iterator[AudioBlock], seconds: float) -> Iterator[AudioBlock]:
    result = 0.0
    for block in blocks:
        yield block
        result += len(block.samples) / RATE
        if result >= seconds:
            return


def test_a_microphone(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    length = 9.0
    result = listen_to_blocks(
        Detector(detector),
        until(read_microphone_blocks(backend=Microphone(sound[: round(length * RATE)])), length - 0.1),
    )
    assert [e.time for e in result.events] == pytest.approx([t for t in times if t < length], abs=0.05)


def test_what_a_driver_drops_and_what_waits_too_long_is_told(sound: np.ndarray) -> None:
    short = list(until(read_microphone_blocks(backend=Microphone(sound[:RATE], overflow_at=3)), 0.9))
    assert sum(block.lost for block in short) == pytest.approx(0.08)
    waiting = 10.0  # s that may wait; two minutes come at once, before anything is taken
    blocks = read_microphone_blocks(backend=Microphone(np.tile(sound, 12)))
    assert next(blocks).lost == pytest.approx(12 * len(sound) / RATE - waiting, abs=0.1)


def test_a_microphone_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechxfer.wakeword.runtime.microphone._TIMEOUT_SECONDS", 0.05)
    with pytest.raises(DetectorError, match="delivered no audio"):
        list(read_microphone_blocks(backend=Microphone(np.zeros(0))))


def test_no_microphone_names_those_that_there_are() -> None:
    class Nothing:
        def query_devices(self, *asked: Any) -> Any:
            if asked:
                raise ValueError("No input device matching 'usb'")
            return [{"name": "Webcam", "max_input_channels": 1}, {"name": "Speaker", "max_input_channels": 0}]

    with pytest.raises(DetectorError, match="no microphone can be opened") as error:
        next(read_microphone_blocks("usb", backend=Nothing()))
    assert "Webcam" in str(error.value) and "Speaker" not in str(error.value)


@pytest.mark.parametrize(("only", "channel"), [((6,), None), ((6,), 2), ((), 2), ((2, 6), 2)])
def test_a_device_that_opens_only_with_all_its_channels(
    sound: np.ndarray, only: tuple[int, ...], channel: int | None
) -> None:
    waves = np.zeros((RATE, 6))
    waves[:, 1] = sound[RATE : 2 * RATE]
    blocks = until(read_microphone_blocks("array", channel, Microphone(waves, only=only)), 0.9)
    found = np.concatenate([block.samples for block in blocks])
    expected = waves[: len(found), 1] / (6 if channel is None else 1)
    assert np.abs(found - expected).max() < 1e-4 and np.abs(found).max() > 0.02


def test_a_device_without_the_channel_or_that_does_not_open(sound: np.ndarray) -> None:
    two = Microphone(np.column_stack([sound] * 2), only=(5,))
    with pytest.raises(DetectorError, match="has 2 channels, so no channel 3"):
        next(read_microphone_blocks("array", 3, two))
    with pytest.raises(DetectorError, match="Invalid number of channels") as error:
        next(read_microphone_blocks("array", backend=two))
    assert str(error.value).endswith("select one with --microphone: webcam")  # not the one that was tried
