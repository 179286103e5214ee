"""Decoding against what was written, in every format; broken files against their messages."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data.audio import decode_audio, load_waveform, measure_duration
from speechxfer.errors import MissingExtraError, UserError

Writer = Callable[..., Path]
FORMATS = ("wav", "flac", "ogg", "opus", "mp3")


def hertz_of(waveform: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(waveform)).argmax() * rate / len(waveform))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(tmp_path: Path, write_tone: Writer, kind: str) -> None:
    file = write_tone(tmp_path / f"a.{kind}", 1.0, hertz=440)
    for source in (file, str(file), file.read_bytes()):
        waveform = decode_audio(source)
        assert (waveform.shape, waveform.dtype) == ((16_000,), np.float32)
        assert hertz_of(waveform, 16_000) == pytest.approx(440, abs=1)
        assert np.sqrt(np.mean(waveform**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    assert measure_duration({"path": str(file), "audio": "a"}) == pytest.approx(1.0)


def test_other_rates_keep_pitch_and_length(tmp_path: Path, write_tone: Writer) -> None:
    for rate in (8_000, 22_050, 44_100, 48_000):
        file = write_tone(tmp_path / f"{rate}.wav", 1.0, rate, hertz=440)
        waveform = decode_audio(file)
        assert len(waveform) == pytest.approx(16_000, abs=1)
        assert hertz_of(waveform, 16_000) == pytest.approx(440, abs=1)
    assert len(decode_audio(file, 8_000)) == 8_000


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    left, right = np.full(1600, 0.5, np.float32), np.full(1600, -0.1, np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(decode_audio(tmp_path / "a.wav"), 0.2, atol=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 15_000), st.integers(1, 1000))
def test_a_cut_is_the_slice_of_the_whole(start: int, length: int) -> None:
    whole = np.random.default_rng(0).uniform(-0.9, 0.9, 16_000).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, whole, 16_000, format="WAV", subtype="FLOAT")
    cut = decode_audio(file.getvalue(), start=start / 16_000, end=(start + length) / 16_000)
    np.testing.assert_array_equal(cut, whole[start : start + length])


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".opus", ".mp3"])
def test_a_cut_of_a_compressed_file_is_the_slice_of_the_whole(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    kind = {".opus": ("OGG", "OPUS"), ".ogg": ("OGG", "VORBIS"), ".mp3": ("MP3", None), ".flac": ("FLAC", None)}[suffix]
    file = tmp_path / f"a{suffix}"
    soundfile.write(file, rng.uniform(-0.5, 0.5, 48_000), 16_000, format=kind[0], subtype=kind[1])
    np.testing.assert_allclose(decode_audio(file, start=1.0, end=1.5), decode_audio(file)[16_000:24_000], atol=1e-4)


def test_a_row_is_loaded_by_its_cut(tmp_path: Path, write_tone: Writer) -> None:
    file = write_tone(tmp_path / "a.wav", 2.0)
    row = {"id": "x", "audio": "a.wav", "path": str(file), "start": 0.5, "end": None}
    assert len(load_waveform(row)) == 24_000
    assert measure_duration(row) == pytest.approx(1.5)
    assert len(load_waveform({"audio": "a.wav", "path": "", "bytes": file.read_bytes()})) == 32_000


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (0.5, 0.5, "is empty"),
        (-1.0, 0.5, "is empty"),
        (1.5, None, "is empty"),
        (0, 1.2, "after the file's end"),
    ],
)
def test_cuts_outside_the_file(tmp_path: Path, write_tone: Writer, start: float, end: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode_audio(write_tone(tmp_path / "a.wav"), start=start, end=end)


def test_samples_that_are_not_numbers(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.1, np.nan, 0.2]), 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match="not numbers"):
        decode_audio(tmp_path / "a.wav")


# -- through PyAV --------------------------------------------------------------------------------------------------
def write_av(path: Path, hertz: float = 440, length: float = 4.0) -> Path:
    """A tone as m4a (AAC, its table first or last) or webm (Opus)."""
    av = pytest.importorskip("av", reason="the extra 'av' is not installed")
    codec, rate, step = ("libopus", 48_000, 960) if path.suffix == ".webm" else ("aac", 16_000, 1_024)
    options = {"movflags": "faststart"} if path.stem == "first" else {}
    tone = (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(length * rate)) / rate)).astype(np.float32)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        cut = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate, frame_size=step)
        for piece in (*cut.resample(frame), *cut.resample(None), None):
            for packet in stream.encode(piece):
                container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.m4a", "first.m4a", "a.webm"])
def test_m4a_and_webm_through_av(tmp_path: Path, name: str) -> None:
    file = write_av(tmp_path / name)
    for source in (file, file.read_bytes()):
        waveform = decode_audio(source)
        assert len(waveform) == pytest.approx(64_000, abs=2_048)
        assert hertz_of(waveform, 16_000) == pytest.approx(440, abs=1)
    assert measure_duration({"audio": "a", "path": str(file)}) == pytest.approx(4, abs=0.13)
    assert len(decode_audio(file, start=1, end=1.5)) == 8_000
    whole = file.read_bytes()
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(UserError, match="truncated or damaged"):
            decode_audio(whole[: int(share * len(whole))])


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.m4a", b"\0\0\0\x20ftypM4A "),
        ("a.webm", b"\x1aE\xdf\xa3\x9fB\x86\x81"),
        ("a.amr", b"#!AMR\n"),
        ("a.wav", b"\0\0\0\x20ftypisom"),  # as phones name them
    ],
)
def test_without_av_the_command_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, head: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(head + bytes(200))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'speechxfer\[av\]'") as caught:
        decode_audio(file)
    assert str(file) in str(caught.value)
    for read in (load_waveform, measure_duration):  # one line for a row among many
        with pytest.raises(UserError) as caught_row:
            read({"audio": name, "path": str(file)})
        assert caught_row.value.where == name
        assert "package 'av'" in caught_row.value.problem and "pip install 'speechxfer[av]'" in caught_row.value.problem
