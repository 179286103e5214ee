"""The audio of detections as files: the last seconds, never over another file, and folders that cannot be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.wakeword.runtime.audio_sources import AudioBlock, listen_to_blocks
from speechxfer.wakeword.runtime.detector import Detector
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.events import Event
from speechxfer.wakeword.runtime.saved_audio import SAVED_SECONDS, AudioSaver
from speechxfer.wakeword.runtime.wyoming_stream import AudioFormat, WyomingStream

RATE = 16_000


def test_the_last_seconds_are_saved(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, 7 * RATE).astype(np.float32)
    saver = AudioSaver(tmp_path / "new" / "folder")
    for block in saver.follow(AudioBlock(wave[start : start + 5_000]) for start in range(0, len(wave), 5_000)):
        assert len(block.samples)
    path = saver.save(Event(6.0, 0.875))
    assert path.parent == tmp_path / "new" / "folder" and path.name.endswith("-score-0.875.wav")
    saved, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE and np.abs(saved - wave[-round(SAVED_SECONDS * RATE) :]).max() < 1e-4


def test_no_file_is_replaced(tmp_path: Path) -> None:
    saver = AudioSaver(tmp_path)
    saver.push(np.full(100, 0.5, np.float32))
    paths = [saver.save(Event(1.0, 0.5)) for _ in range(3)]
    assert len(set(paths)) == 3 and all(soundfile.info(path).frames == 100 for path in paths)
    saver.reset()
    assert soundfile.info(saver.save(Event(1.0, 0.5))).frames == 0


def test_a_file_for_each_detection_of_listen_and_of_wyoming(
    detector: Path, sound: np.ndarray, times: list[float], tmp_path: Path
) -> None:
    saver = AudioSaver(tmp_path / "listen")
    blocks = (AudioBlock(sound[start : start + 1_280]) for start in range(0, len(sound), 1_280))
    listen_to_blocks(Detector(detector), saver.follow(blocks), on_event=lambda event: saver.save(event) and None)
    stream = WyomingStream(Detector(detector), saver=AudioSaver(tmp_path / "wyoming"))
    stream.push((sound * 32_767).astype("<i2").tobytes(), AudioFormat(RATE, 2, 1))
    for name in ("listen", "wyoming"):
        assert len(list((tmp_path / name).glob("*.wav"))) == len(times)
    assert stream.take_hints() == []


def test_a_folder_that_cannot_be_written(detector: Path, sound: np.ndarray, times: list[float], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DetectorError, match="cannot be created"):
        AudioSaver(tmp_path / "file")
    saver = AudioSaver(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    with pytest.raises(DetectorError, match="cannot be written"):
        saver.save(Event(1.0))
    stream = WyomingStream(Detector(detector), saver=saver)
    found = stream.push((sound * 32_767).astype("<i2").tobytes(), AudioFormat(RATE, 2, 1))
    assert len(found) == len(times)  # detected all the same
    assert any("cannot be written" in hint for hint in stream.take_hints())
