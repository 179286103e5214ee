"""Ogg pages against what libogg wrote, and every way of damaging them."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data import ogg
from speechxfer.data.audio import decode_audio
from speechxfer.errors import UserError


def encode(subtype: str, seconds: float = 6.0, seed: int = 0, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate))
    soundfile.write(file, noise, rate, format="OGG", subtype=subtype)
    return file.getvalue()


WHOLE = {subtype: encode(subtype) for subtype in ("VORBIS", "OPUS")}


def find_pages(data: bytes) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(b"OggS\0", at)]


@pytest.mark.parametrize("subtype", list(WHOLE))
def test_checksums_are_those_that_libogg_wrote(subtype: str) -> None:
    data = WHOLE[subtype]
    starts = [*find_pages(data), len(data)]
    for start, end in itertools.pairwise(starts):
        stated = int.from_bytes(data[start + 22 : start + 26], "little")
        assert ogg.compute_page_checksum(data[start:end]) == stated


@pytest.mark.parametrize("subtype", list(WHOLE))
def test_a_chain_is_read_to_its_end(subtype: str) -> None:
    data, other = WHOLE[subtype], encode(subtype, 2.0, seed=1)
    assert ogg.find_ogg_streams(io.BytesIO(data)) == [0]
    assert ogg.find_ogg_streams(io.BytesIO(data + other + data)) == [0, len(data), len(data) + len(other)]
    expected = [decode_audio(part) for part in (data, other, data)]
    np.testing.assert_array_equal(decode_audio(data + other + data), np.concatenate(expected))
    tagged = data + b"TAG".ljust(128) + other
    np.testing.assert_array_equal(decode_audio(tagged), np.concatenate(expected[:2]))
    cut = decode_audio(data + other, start=5.5, end=6.5)  # across the joint
    np.testing.assert_array_equal(cut, np.concatenate(expected[:2])[88_000:104_000])


def test_a_chain_of_two_rates_is_refused() -> None:
    with pytest.raises(UserError, match="2 files of different sampling rates or channels were joined"):
        decode_audio(WHOLE["VORBIS"] + encode("VORBIS", rate=8_000))


@pytest.mark.parametrize("subtype", list(WHOLE))
@settings(max_examples=60)
@given(data=st.data())
def test_any_changed_byte_is_found(subtype: str, data: st.DataObject) -> None:
    damaged = bytearray(WHOLE[subtype])
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"checksum|no page|is cut|missing"):
        ogg.find_ogg_streams(io.BytesIO(bytes(damaged)))


def test_a_missing_page_is_found_but_not_after_the_headers() -> None:
    data = WHOLE["VORBIS"]
    pages = find_pages(data)
    assert len(pages) >= 6
    without = data[: pages[4]] + data[pages[5] :]
    with pytest.raises(ValueError, match="pages are missing"):
        ogg.find_ogg_streams(io.BytesIO(without))
    recording = data[: pages[2]] + data[pages[3] :]  # of a broadcast: headers, then pages from the middle
    assert ogg.find_ogg_streams(io.BytesIO(recording)) == [0]
