"""A detector on files and pipes: any rate and channel, words at either end, dropped audio, damaged headers."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.wakeword.runtime.audio_sources import (
    AudioBlock,
    LevelReading,
    apply_gain,
    format_level,
    listen_to_blocks,
    read_file_blocks,
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


@pytest.fixture
def cut_end(times: list[float]) -> int:
    """Samples of `sound` up to the last word's end, where its detection is not complete."""
    return round((times[-1] - 0.03) * RATE)


def test_a_word_at_the_very_end_of_a_file_and_of_a_pipe(
    detector: Path, sound: np.ndarray, times: list[float], cut_end: int, tmp_path: Path
) -> None:
    samples = np.clip(sound[:cut_end] * 32_768, -32_768, 32_767).astype("<i2")
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    for blocks in (read_file_blocks(tmp_path / "a.wav"), read_raw_blocks(io.BytesIO(samples.tobytes()))):
        result = listen_to_blocks(Detector(detector), blocks)
        assert [e.time for e in result.events] == pytest.approx(times, abs=0.1)
        assert result.seconds == pytest.approx(cut_end / RATE, abs=1e-3)  # without the silence after it


def test_a_word_at_the_very_start(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    first = round((times[0] - 0.75) * RATE)
    result = listen_to_blocks(Detector(detector), iter([AudioBlock(sound[first : first + 2 * RATE])]))
    assert [e.time for e in result.events] == pytest.approx([0.75], abs=0.1)


@pytest.mark.parametrize("channels", [2, 3])
def test_one_channel_of_a_file_and_of_a_pipe(
    detector: Path, sound: np.ndarray, times: list[float], tmp_path: Path, channels: int
) -> None:
    """The word is in the second channel; the others cancel it, or are silent."""
    waves = np.zeros((len(sound), channels))
    waves[:, 0], waves[:, 1] = -sound, sound
    path = tmp_path / "a.wav"
    soundfile.write(path, waves, RATE, subtype="PCM_16")
    hints: list[str] = []
    mean = listen_to_blocks(Detector(detector), read_file_blocks(path), on_hint=hints.append)
    assert mean.events == [] and len(hints) == 1 and "--channel" in hints[0]
    with path.open("rb") as file:
        for blocks in (read_file_blocks(path, 2), read_raw_blocks(file, channel=2)):
            assert [e.time for e in listen_to_blocks(Detector(detector), blocks).events] == pytest.approx(
                times, abs=0.1
            )
    for blocks in (read_file_blocks(path, channels + 1), read_raw_blocks(io.BytesIO(path.read_bytes()), channel=4)):
        with pytest.raises(DetectorError, match=f"has {channels} channels"):
            next(blocks)


def test_a_gain_makes_quiet_audio_what_it_was(detector: Path, sound: np.ndarray, times: list[float]) -> None:
    quiet, hints = [AudioBlock(sound * np.float32(1e-3))], []
    found = listen_to_blocks(Detector(detector), apply_gain(iter(quiet), 60.0), on_hint=hints.append)
    assert [e.time for e in found.events] == pytest.approx(times, abs=0.05) and hints == []
    listen_to_blocks(Detector(detector), iter(quiet), on_hint=hints.append)
    assert len(hints) == 1 and "too quiet" in hints[0]


def test_a_low_rate_is_a_hint_unless_the_word_is_found_before(detector: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8_000), 8_000)
    hints: list[str] = []
    listen_to_blocks(Detector(detector), read_file_blocks(tmp_path / "a.wav"), on_hint=hints.append)
    assert hints[0].startswith("8,000 Hz audio has nothing above 4 kHz")


@pytest.mark.parametrize("rate", [44_101, 7_999, 191_999])
def test_a_file_at_an_odd_rate_is_as_long_as_it_is(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(2 * rate), rate)
    blocks = list(read_file_blocks(tmp_path / "a.wav"))
    assert sum(len(block.samples) for block in blocks) == pytest.approx(2 * RATE, abs=2)
    assert max(len(block.samples) for block in blocks) < RATE


@pytest.mark.parametrize("rate", [1, 3_000])
def test_a_rate_at_which_there_is_no_speech(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), rate)
    with pytest.raises(DetectorError, match="can be 4,000 to"):
        list(read_file_blocks(tmp_path / "a.wav"))
    with pytest.raises(DetectorError, match="can be 4,000 to"):
        list(read_raw_blocks(io.BytesIO((tmp_path / "a.wav").read_bytes())))


def test_one_absurd_sample_of_a_file_does_not_reach_its_neighbours(
    detector: Path, sound_48_khz: np.ndarray, times: list[float], tmp_path: Path
) -> None:
    damaged = sound_48_khz.astype(np.float32).copy()
    damaged[[100, 200, 300]] = [1e38, np.nan, np.inf]
    soundfile.write(tmp_path / "a.wav", damaged, 48_000, subtype="FLOAT")
    result = listen_to_blocks(Detector(detector), read_file_blocks(tmp_path / "a.wav"))
    assert [e.time for e in result.events] == pytest.approx(times, abs=0.05)


def test_other_chunks_of_a_wav_stream_are_skipped(sound: np.ndarray) -> None:
    """Also one that states 4 GB and ends at once, which is not read into memory."""
    buffer = io.BytesIO()
    soundfile.write(buffer, sound[:RATE], RATE, format="WAV", subtype="PCM_16")
    data = buffer.getvalue()
    extra = data[:36] + b"LIST" + (200_001).to_bytes(4, "little") + bytes(200_002) + data[36:]
    samples = [np.concatenate([b.samples for b in read_raw_blocks(io.BytesIO(wav))]) for wav in (data, extra)]
    assert np.array_equal(*samples)
    endless = data[:12] + b"JUNK" + b"\xff" * 4 + bytes(1000)
    with pytest.raises(DetectorError, match="WAV without samples"):
        list(read_raw_blocks(io.BytesIO(endless)))


def test_the_level_line_fits_a_terminal() -> None:
    for decibels, score in ((-100.0, 0.0), (-20.0, 0.7), (5.0, 1.0)):
        line = format_level(LevelReading(3661.0, decibels, score), "hey juniper and more", 0.5)
        assert len(line) <= 82 and ("*" in line) == (score >= 0.5)


def test_a_wav_of_any_name(tmp_path: Path) -> None:
    samples = 0.1 * np.sin(np.arange(16_000) / 7)
    for name in ("a.raw", "a", "a.mp3"):
        soundfile.write(tmp_path / name, samples, 16_000, format="WAV")
        read = np.concatenate([block.samples for block in read_file_blocks(tmp_path / name)])
        assert np.abs(read[:16_000] - samples).max() < 1e-3


@pytest.mark.parametrize(
    ("path", "words"), [("nowhere.wav", "no such file"), ("text.wav", "cannot be read as audio"), ("", "is a folder")]
)
def test_a_file_that_is_no_audio(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(DetectorError, match=words):
        list(read_file_blocks(tmp_path / path))


def test_listening_imports_no_torch() -> None:
    names = ("audio_sources", "microphone", "wyoming_server")
    modules = ", ".join(f"speechxfer.wakeword.runtime.{name}" for name in names)
    program = f"import sys; sys.modules['torch'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", program], check=True)
