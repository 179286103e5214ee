"""MP3s whose length is stated, wrongly guessed by libsndfile, or interrupted by tags: read to their end."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.data import mp3
from speechxfer.data.audio import decode_audio, measure_duration
from speechxfer.data.audio_stream import open_audio
from speechxfer.errors import UserError


def varied(length: float, rate: int, channels: int = 1) -> np.ndarray:
    """Noise, a tone and silence in turn: its bit rate varies widely, the highest first. (time, channels)."""
    generator = np.random.default_rng(0)
    time = np.arange(round(length * rate)) / rate
    part = (time // 0.25).astype(int) % 3
    wave = np.where(part == 1, np.sin(2 * np.pi * 440 * time), generator.standard_normal(len(time)) * (part == 0))
    return np.stack([0.3 * wave / (1 + side) for side in range(channels)], axis=1).clip(-1, 1)


def encoded(length: float = 4.0, rate: int = 16_000, channels: int = 1, mode: str = "VARIABLE") -> bytes:
    """As LAME writes it: the first frame states the length."""
    file = io.BytesIO()
    soundfile.write(file, varied(length, rate, channels), rate, format="MP3", bitrate_mode=mode, compression_level=0.3)
    return file.getvalue()


def decode_channels(source: bytes) -> tuple[np.ndarray, int]:
    stream = open_audio(source)
    return np.concatenate(list(stream.blocks)), stream.rate


def bare(whole: bytes) -> bytes:
    """Without its first frame, as a recorder writes that cannot go back, or a program that cut the beginning off."""
    return whole[whole.index(whole[:2], 4) :]


def id3(size: int, words: bytes = b"") -> bytes:
    """An ID3v2.4 tag of `size` bytes after its header, as a cover picture makes one (id3.org)."""
    return b"ID3\x04\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + words.ljust(size, b"\0")


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_without_a_stated_length_it_is_counted(rate: int, channels: int, mode: str) -> None:
    whole = encoded(rate=rate, channels=channels, mode=mode)
    assert mp3.repair(whole) is whole
    without = bare(whole)
    samples, found = decode_channels(without)
    assert (found, samples.shape[1]) == (rate, channels)
    assert len(samples) / rate == pytest.approx(4.0, abs=0.2)  # with the encoder's delay and its last frame
    assert measure_duration({"audio": "a", "path": "", "bytes": without}) == pytest.approx(len(samples) / rate)
    # the same audio as that of the whole file, one encoder's delay apart
    truth, _ = decode_channels(whole)
    lag = len(samples) - len(truth)
    apart = [np.corrcoef(samples[at : at + rate * 3, 0], truth[: rate * 3, 0])[0, 1] for at in range(max(lag, 0) + 1)]
    assert max(apart) > 0.99


def test_libsndfile_alone_loses_most_of_it() -> None:
    """The reason for counting. Should a later libsndfile read on, the counting can go."""
    with soundfile.SoundFile(io.BytesIO(bare(encoded()))) as file:
        assert len(file.read()) < 0.7 * 4.0 * 16_000


def test_a_tag_before_it_and_tags_within_are_stepped_over() -> None:
    without = bare(encoded())
    length = len(decode_audio(without))
    assert len(decode_audio(id3(20_000) + without)) == length
    assert len(decode_audio(id3(100, b"TIT2 Info") + without)) == length  # the word that tells a stated length
    joined = without + id3(300) + without + b"TAG".ljust(128, b" ")
    assert len(decode_audio(joined)) == pytest.approx(2 * length, abs=2_000)


def test_a_stated_length_counts_after_the_tag() -> None:
    whole = encoded()
    assert len(decode_audio(id3(20_000) + whole)) == 64_000
    with pytest.raises(UserError, match="bytes of MP3"):
        decode_audio(id3(20_000) + whole[: len(whole) // 2])  # with its tag, longer than stated


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", varied(0.1, 16_000), 16_000)
    for data in ((tmp_path / "a.wav").read_bytes(), b"", b"\xff", b"\xff" * 500):
        assert not mp3.is_mp3(data)
    false_sync = b"\xff\xfb\x90\x00" + bytes(100)
    assert mp3.is_mp3(false_sync) and mp3.repair(false_sync) is false_sync
    assert mp3.repair(encoded()) == encoded()


def test_joined_files_are_read_to_the_end_although_the_first_states_its_own_length() -> None:
    whole = encoded()
    both = decode_audio(whole + whole)
    assert len(both) == pytest.approx(2 * 64_000, abs=4_000)  # and the encoder's delay of each
    for start in range(0, 128_000, 16_000):
        assert np.abs(both[start : start + 12_000]).max() > 0.05
    assert measure_duration({"audio": "a", "path": "", "bytes": whole + id3(20_000) + whole}) == len(both) / 16_000
    with pytest.raises(UserError, match="its sampling rate or number of channels changes at byte"):
        decode_audio(whole + encoded(rate=24_000))
    with pytest.raises(UserError, match="its sampling rate or number of channels changes at byte"):
        decode_audio(whole + encoded(channels=2))


def test_bytes_between_frames_are_left_out_and_nothing_after_them() -> None:
    whole = encoded(mode="CONSTANT")
    frame = whole.index(whole[:2], 4)
    at = frame * 20
    damaged = whole[:at] + np.random.default_rng(0).bytes(5_000).replace(b"\xff", b"\0") + whole[at:]
    waveform, truth = decode_audio(damaged), decode_audio(whole)
    assert len(waveform) == pytest.approx(len(truth), abs=2_000)
    assert np.corrcoef(waveform[-16_000:], truth[-16_000:])[0, 1] < 1  # not silence: both have values
    assert np.abs(waveform[-16_000:]).max() == pytest.approx(np.abs(truth[-16_000:]).max(), rel=0.2)
