"""Names that are not UTF-8: stored, restored and printed."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.data.paths import decode_path, encode_path, make_printable


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name))
def test_any_name_is_stored_restored_and_printed(name: bytes) -> None:
    path = os.fsdecode(name)
    stored = pa.array([encode_path(path)], pa.string()).to_pylist()[0]
    assert os.fsencode(decode_path(stored)) == name
    assert make_printable(path).encode("utf-8").decode("utf-8") == make_printable(path)


def test_names_that_are_utf_8_stay_as_they_are() -> None:
    for name in ("a.wav", "Käthe.wav", "\U0001f3a4.wav", "a\nb.wav"):
        assert encode_path(name) == decode_path(name) == make_printable(name) == name
    assert make_printable(os.fsdecode(b"\xff\xfe.wav")) == r"\xff\xfe.wav"


def test_a_file_whose_name_holds_such_private_characters_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "\U0010feff.wav")
    Path(path).write_bytes(b"x")
    assert decode_path(encode_path(path)) == path
