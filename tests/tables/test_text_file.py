"""Text files are UTF-8; any other encoding is named with the command that converts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.errors import UserError
from speechxfer.tables.text_file import read_text


@pytest.mark.parametrize("data", ["größer\n".encode(), "größer\n".encode("utf-8-sig")])
def test_utf_8_with_and_without_mark(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.txt").write_bytes(data)
    assert read_text(tmp_path / "t.txt") == "größer\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\n".encode("utf-16"), r"is encoded as UTF-16, not UTF-8(?s:.*)iconv -f UTF-16"),
        ("a\n".encode("utf-32"), r"is encoded as UTF-32, not UTF-8(?s:.*)iconv -f UTF-32"),
        (b"a\ncaf\xe9\n", r"t\.txt:2: byte 0xe9 is not UTF-8(?s:.*)iconv -f WINDOWS-1252"),
        (b"a\nb\0\n", r"t\.txt:2: is not a text file: it contains a NUL byte"),
    ],
)
def test_other_files(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "t.txt").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_text(tmp_path / "t.txt")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: no such file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path)
