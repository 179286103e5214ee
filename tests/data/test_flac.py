"""FLAC headers against files that libFLAC wrote: block sizes, rates and channels, wrong and missing lengths."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechxfer.data import flac
from speechxfer.data.audio import decode_audio, measure_duration
from speechxfer.errors import UserError


def encode(length: int = 41_280, rate: int = 16_000, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(length).uniform(-0.3, 0.3, (length, channels))
    soundfile.write(file, noise, rate, format="FLAC", subtype=subtype)
    return file.getvalue()


def state(data: bytes, samples: int) -> bytes:
    """The file with another number of samples in its header (RFC 9639, 8.2)."""
    changed = bytearray(data)
    changed[21] = changed[21] & 0xF0 | samples >> 32
    changed[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(changed)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70_000),
    st.sampled_from([8_000, 11_127, 16_000, 44_100, 96_000]),
    st.integers(1, 3),
    st.sampled_from(["PCM_S8", "PCM_16", "PCM_24"]),
)
@example(length=65_537, rate=8_000, channels=1, subtype="PCM_S8")  # the frame before the last is in the tail too
def test_the_last_frame_ends_where_the_header_states(length: int, rate: int, channels: int, subtype: str) -> None:
    data = encode(length, rate, channels, subtype)
    info = flac.read_flac_info(data[:42])
    assert info is not None and info.samples == length
    assert flac.ends_at_stated_sample(data[-info.max_frame_bytes :], info)
    for other in (length - 1, length + 1, length + 4_096):
        assert not flac.ends_at_stated_sample(data[-info.max_frame_bytes :], info._replace(samples=other))


@pytest.mark.parametrize("samples", [0, 2**36 - 1])
def test_a_length_that_is_not_stated_is_counted(samples: int) -> None:
    data = state(encode(), samples)
    row = {"audio": "a", "path": "", "bytes": data}
    assert measure_duration(row) == 2.58
    np.testing.assert_array_equal(decode_audio(data), decode_audio(encode()))
    np.testing.assert_array_equal(decode_audio(data, start=1.0, end=2.0), decode_audio(encode())[16_000:32_000])
    assert measure_duration(row | {"start": 1.0}) == pytest.approx(1.58)
    with pytest.raises(UserError, match="after the file's end"):
        decode_audio(data, end=3.0)
    with pytest.raises(UserError, match="truncated or damaged"):
        decode_audio(data[: len(data) // 2])


@pytest.mark.parametrize("samples", [1_000, 41_279, 41_281, 2**35])
def test_a_wrong_length_is_refused(samples: int) -> None:
    data = state(encode(), samples)
    for read in (decode_audio, lambda data: measure_duration({"audio": "a", "path": "", "bytes": data})):
        with pytest.raises(UserError, match="truncated or damaged"):
            read(data)


@pytest.mark.parametrize("streamed", [False, True])
def test_joined_files_are_all_read(streamed: bool) -> None:
    parts = [encode(41_280), encode(20_000)]
    data = b"".join(state(part, 0) if streamed else part for part in parts)
    assert flac.find_flac_streams(io.BytesIO(data)) == [0, len(parts[0])]
    np.testing.assert_array_equal(decode_audio(data), np.concatenate([decode_audio(part) for part in parts]))
    assert measure_duration({"audio": "a", "path": "", "bytes": data}) == pytest.approx(61_280 / 16_000)


def test_what_is_not_flac_has_no_header() -> None:
    for data in (b"", b"fLaC", b"RIFF" + bytes(60), encode()[:41]):
        assert flac.read_flac_info(data) is None
