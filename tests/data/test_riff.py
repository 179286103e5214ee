"""Uncompressed formats: cut, joined, and with sizes that pipes and damage leave."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from speechxfer.data.audio import decode_audio, measure_audio, measure_duration
from speechxfer.errors import UserError

FORMATS = ["WAV", "WAVEX", "RF64", "AIFF", "W64", "AU", "CAF", "NIST", "SVX"]
LENGTH = 41_280


def encode(kind: str = "WAV", length: int = LENGTH, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file, np.random.default_rng(length).uniform(-0.3, 0.3, length), 16_000, format=kind, subtype=subtype
    )
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_is_refused_by_all_who_read_it(kind: str) -> None:
    data = encode(kind)
    assert len(decode_audio(data)) == LENGTH
    for share in (0.05, 0.3, 0.5, 0.9, 0.99):
        row = {"audio": "a", "path": "", "bytes": data[: int(share * len(data))]}
        for read in (measure_duration, measure_audio, lambda row: decode_audio(row["bytes"])):
            with pytest.raises(UserError, match="is truncated or damaged"):
                read(row)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "AIFF", "AU", "CAF"])
def test_joined_files_are_all_read(kind: str) -> None:
    parts = [encode(kind), encode(kind, 20_001), encode(kind, 7)]
    np.testing.assert_array_equal(decode_audio(b"".join(parts)), np.concatenate([decode_audio(part) for part in parts]))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT"])
def test_joined_files_with_and_without_a_byte_of_padding(subtype: str) -> None:
    parts = [encode("WAV", 20_001, subtype), encode("WAV", 9_999, subtype)]
    assert len(decode_audio(b"".join(parts))) == 30_000
    if len(parts[0]) % 2 == 0:
        assert len(decode_audio(parts[0].removesuffix(b"\0") + parts[1])) == 30_000


def test_sound_after_the_stated_samples_is_not_dropped() -> None:
    data = bytearray(encode())
    for size in (0, 1_000):
        data[40:44] = size.to_bytes(4, "little")
        with pytest.raises(UserError, match=f"states {82_560 - size:,} bytes of samples less than the file holds"):
            decode_audio(bytes(data))


@pytest.mark.parametrize("rest", [b"LIST\x04\0\0\0abcd", bytes(5_000), b"TAG".ljust(128), b"ID3" + b"\x7f" * 4_000])
def test_chunks_padding_and_tags_may_follow_the_samples(rest: bytes) -> None:
    assert len(decode_audio(encode() + rest)) == LENGTH


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_sizes_that_a_pipe_leaves(size: int) -> None:
    data = bytearray(encode())
    data[4:8] = data[40:44] = size.to_bytes(4, "little")
    assert len(decode_audio(bytes(data))) == LENGTH
    data = bytearray(encode("AU"))
    data[8:12] = b"\xff\xff\xff\xff"
    assert len(decode_audio(bytes(data))) == LENGTH
