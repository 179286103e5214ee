"""A detector on files, pipes and a microphone: any rate, dropped audio, no microphone."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxfer.wakeword.runtime.audio_sources import (
    AudioBlock,
    LevelReading,
    format_level,
    listen_to_blocks,
    read_file_blocks,
    read_microphone_blocks,
    read_raw_blocks,
)
from speechxfer.wakeword.runtime.detector import Detector
from speechxfer.wakeword.runtime.errors import DetectorError

RATE = 16_000


@pytest.mark.parametrize(("rate", "channels", "kind"), [(16_000, 1, "wav"), (48_000, 2, "flac")])
def test_a_file_of_any_rate(
    detector: Path,
    sound: np.ndarray,
    sound_48_khz: np.ndarray,
    times: list[float],
    tmp_path: Path,
    rate: int,
    channels: int,
    kind: str,
) -> None:
    wave = sound if rate == RATE else sound_48_khz
    soundfile.write(tmp_path / f"a.{kind}", np.column_stack([wave] * channels), rate)
    levels: list[LevelReading] = []
    result = listen_to_blocks(Detector(detector), read_file_blocks(tmp_path / f"a.{kind}"), on_level=levels.append)
    assert [e.time for e in result.events] == pytest.approx(times, abs=0.05)
    assert result.seconds == pytest.approx(len(sound) / RATE, abs=0.02)
    assert max(level.score for level in levels) > 0.5 and levels[0].decibels < -60


def test_a_pipe_of_raw_sound_or_a_wav(
    detector: Path, sound: np.ndarray, sound_48_khz: np.ndarray, times: list[float]
) -> None:
    samples = np.clip(sound * 32_768, -32_768, 32_767).astype("<i2")
    raw = listen_to_blocks(Detector(detector), read_raw_blocks(io.BytesIO(samples.tobytes())))
    buffer = io.BytesIO()
    soundfile.write(buffer, np.column_stack([sound_48_khz] * 2), 48_000, format="WAV", subtype="PCM_16")
    wav = listen_to_blocks(Detector(detector), read_raw_blocks(io.BytesIO(buffer.getvalue())))
    for result in (raw, wav):
        assert [e.time for e in result.events] == pytest.approx(times, abs=0.05)
    with pytest.raises(DetectorError, match="32 bits"):
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, RATE, format="WAV", subtype="FLOAT")
        list(read_raw_blocks(io.BytesIO(buffer.getvalue())))


def test_lost_sound_counts_as_silence_and_times_stay_true(
    detector: Path, sound: np.ndarray, times: list[float]
) -> None:
    middle = round((times[0] + 1.0) * RATE)
    lost = 2.0
    blocks = iter([AudioBlock(sound[:middle]), AudioBlock(sound[middle + round(lost * RATE) :], lost=lost)])
    result = listen_to_blocks(Detector(detector), blocks)
    assert [e.time for e in result.events] == pytest.approx(times, abs=0.05)
    assert result.lost == lost


def test_without_end_nothing_is_kept(detector: Path, sound: np.ndarray) -> None:
    reported: list[float] = []
    result = listen_to_blocks(
        Detector(detector), iter([AudioBlock(sound)]), on_event=lambda e: reported.append(e.time), keep=False
    )
    assert result.events == [] and len(reported) == 2


class Microphone:
    """Stands for sounddevice: plays `sound` into the callback when the stream is opened."""

    def __init__(self, sound: np.ndarray, overflow_at: int = -1) -> None:
        self.samples, self.overflow_at = (sound * 32_767).astype(np.int16), overflow_at

    def query_devices(self, *_: Any) -> dict[str, Any]:
        return {"default_samplerate": 16_000.0}

    def RawInputStream(self, *, blocksize: int, callback: Any, **_: Any) -> Microphone:  # noqa: N802
        for number, start in enumerate(range(0, len(self.samples), blocksize)):
            status = SimpleNamespace(input_overflow=number == self.overflow_at)
            callback(self.samples[start : start + blocksize].tobytes(), blocksize, None, status)
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
    monkeypatch.setattr("speechxfer.wakeword.runtime.audio_sources._TIMEOUT_SECONDS", 0.05)
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


def test_the_level_line_fits_a_terminal() -> None:
    for decibels, score in ((-100.0, 0.0), (-20.0, 0.7), (5.0, 1.0)):
        line = format_level(LevelReading(3661.0, decibels, score), "hey juniper and more", 0.5)
        assert len(line) <= 82 and ("*" in line) == (score >= 0.5)


@pytest.mark.parametrize(
    ("path", "words"), [("nowhere.wav", "no such file"), ("text.wav", "cannot be read as audio"), ("", "is a folder")]
)
def test_a_file_that_is_no_audio(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(DetectorError, match=words):
        list(read_file_blocks(tmp_path / path))


def test_listening_imports_no_torch() -> None:
    modules = "speechxfer.wakeword.runtime.audio_sources, speechxfer.wakeword.runtime.wyoming_server"
    program = f"import sys; sys.modules['torch'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", program], check=True)
