"""One verdict on a file, whoever reads it; samples that no recording holds; rates of any kind in bounded memory."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data.audio import decode_audio, load_waveform, measure_audio, measure_duration
from speechxfer.data.audio_io import RATES
from speechxfer.data.audio_stream import MAX_LEVEL, measure_seconds, open_audio
from speechxfer.data.segmentation import segment_audio
from speechxfer.errors import UserError

Writer = Callable[..., Path]


def encode(samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str | None = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def noise(length: int) -> np.ndarray:
    return np.random.default_rng(length).uniform(-0.3, 0.3, length).astype(np.float32)


def judge(data: bytes) -> set[str]:
    """What each reader says of the bytes: its message, or "accepted"."""
    row = {"audio": "a", "path": "", "bytes": data}
    readers: list[Callable[[], object]] = [
        lambda: load_waveform(row),
        lambda: measure_audio(row),
        lambda: list(segment_audio(row, max_seconds=0.5)),
        lambda: list(segment_audio(row, max_seconds=30)),
    ]
    verdicts = set()
    for read in readers:
        try:
            read()
            verdicts.add("accepted")
        except UserError as error:
            verdicts.add(error.problem)
    return verdicts


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (np.nan, "samples that are not numbers"),
        (-np.inf, "samples that are not numbers"),
        (1e38, "samples of up to 1e+38, where full scale is 1"),
        (-32_768, "samples of up to 3.277e+04, where full scale is 1"),
        (MAX_LEVEL, "accepted"),
    ],
)
def test_samples_that_no_recording_holds(value: float, verdict: str) -> None:
    samples = noise(20_000)
    samples[12_345] = value
    (found,) = judge(encode(samples))
    assert verdict in found


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3", "WAV", "AIFF", "W64", "AU"])
@settings(max_examples=25)
@given(data=st.data())
def test_all_readers_agree_on_damaged_files(kind: str, data: st.DataObject) -> None:
    whole = bytearray(encode(noise(20_000), kind=kind, subtype=None))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + 40] = np.random.default_rng(at).bytes(len(whole[at : at + 40]))
    keep = data.draw(st.integers(1, len(whole)))
    assert len(judge(bytes(whole[:keep]))) == 1
    assert len(judge(bytes(whole))) == 1


@pytest.mark.parametrize("rate", [44_101, 11_127, 7_999, 22_254, RATES[0], RATES[1]])
def test_any_rate_is_read_in_the_memory_of_the_file(rate: int) -> None:
    data = encode(np.stack([noise(3 * rate)] * 2, axis=1)[:500_000], rate, subtype="PCM_16")
    seconds = (len(data) - 44) / 4 / rate
    tracemalloc.start()
    waveform = decode_audio(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(waveform) == pytest.approx(seconds * 16_000, abs=1)
    assert peak < 60e6


@pytest.mark.parametrize("rate", [1, 24, RATES[0] - 1, RATES[1] + 1, 2**31 - 1])
def test_rates_that_no_speech_has(rate: int) -> None:
    data = bytearray(encode(noise(20_000), subtype="PCM_16"))
    data[24:28] = rate.to_bytes(4, "little")
    (verdict,) = judge(bytes(data))
    assert verdict == f"states a sampling rate of {rate:,} Hz; 4,000 to 768,000 Hz can be read"
    with pytest.raises(UserError, match="states a sampling rate"):
        measure_duration({"audio": "a", "path": "", "bytes": bytes(data)})


@pytest.mark.parametrize("keep", [1, 3, 4, 8, 12, 40])
def test_a_few_bytes_of_a_wav_are_a_damaged_file(keep: int) -> None:
    assert judge(encode(noise(100))[:keep]) == {f"is truncated or damaged (it has only {keep} bytes)"}


def test_blocks_and_spans_of_many_channels() -> None:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (9_000, 100)).astype(np.float32)
    stream = open_audio(encode(samples), 0.1, 0.5)
    blocks = list(stream.blocks)
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), samples[1_600:8_000])


def test_a_duration_is_measured_again_after_the_file_changed(tmp_path: Path, write_tone: Writer) -> None:
    row = {"audio": "a", "path": str(write_tone(tmp_path / "a.flac", 1.0))}
    assert measure_duration(row) == 1.0
    write_tone(tmp_path / "a.flac", 2.0)
    assert measure_duration(row) == 2.0


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_name_that_is_not_utf_8(tmp_path: Path, write_tone: Writer, suffix: str) -> None:
    path = os.fsencode(
        write_tone(tmp_path / f"a{suffix}").rename(tmp_path / os.fsdecode(b"\xff\xfe" + suffix.encode()))
    )
    assert len(decode_audio(os.fsdecode(path))) == pytest.approx(16_000, abs=2_000)
    Path(os.fsdecode(path)).write_bytes(b"RIFF")
    with pytest.raises(UserError) as caught:
        decode_audio(os.fsdecode(path))
    assert rf"\xff\xfe{suffix}: is truncated or damaged" in str(caught.value)


def read_all(data: bytes, start: float | None = None, end: float | None = None) -> np.ndarray:
    """(time, channels) of a span."""
    return np.concatenate(list(open_audio(data, start, end).blocks))


def hide_length(flac: bytes) -> bytes:
    """The file as an encoder writes it to a pipe: its header states no number of samples (the last 36 bits)."""
    header = bytearray(flac[:42])
    header[21] &= 0xF0
    header[22:26] = bytes(4)
    return bytes(header) + flac[42:]


def test_joined_files_are_read_one_after_the_other() -> None:
    parts = [encode(noise(length), kind="OGG", subtype="VORBIS") for length in (9_000, 7_000)]
    alone = [soundfile.read(io.BytesIO(part), dtype="float32", always_2d=True)[0] for part in parts]
    joined = b"".join(parts)
    assert np.array_equal(read_all(joined), np.concatenate(alone))
    assert measure_seconds(joined) == 1.0 and measure_seconds(joined, 0.25) == 0.75
    assert np.array_equal(read_all(joined, 0.5, 0.75), np.concatenate(alone)[8_000:12_000])


def test_joined_files_of_different_rates_are_damaged() -> None:
    parts = [encode(noise(9_000), rate, kind="OGG", subtype="VORBIS") for rate in (16_000, 8_000)]
    with pytest.raises(UserError, match="2 files of different sampling rates or channels were joined"):
        open_audio(b"".join(parts))


def test_a_file_without_a_stated_length_is_measured_by_decoding() -> None:
    samples = noise(16_000)
    data = hide_length(encode(samples, kind="FLAC", subtype="PCM_24"))
    assert soundfile.info(io.BytesIO(data)).frames != len(samples)  # else the header still states it
    assert measure_seconds(data) == 1.0
    np.testing.assert_allclose(read_all(data, 0.25, 0.5)[:, 0], samples[4_000:8_000], atol=1e-6)
    with pytest.raises(UserError, match="after the file's end"):
        read_all(data, 0.5, 1.5)


def test_fewer_samples_than_stated_are_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(noise(16_000), kind="FLAC", subtype="PCM_16")
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, size, **words: read(self, size, **words)[:9_000])
    monkeypatch.setattr("speechxfer.data.audio_stream._BLOCK_VALUES", 16_000)
    with pytest.raises(UserError, match="ends after 9000 of 16000 samples"):
        read_all(data)


def test_a_container_is_read_through_av(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="the extra 'av' is not installed")
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        tone = (0.3 * np.sin(np.arange(32_000) / 9)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    data = (tmp_path / "a.m4a").read_bytes()
    assert measure_seconds(tmp_path / "a.m4a") == pytest.approx(2.0, abs=0.15)
    assert np.sqrt((read_all(data, 0.5, 1.5) ** 2).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    with pytest.raises(UserError, match="truncated or damaged"):
        read_all(data[: len(data) // 3])
