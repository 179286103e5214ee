"""Text of transcript files: encoding, lines, empty files."""

import unicodedata

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.formats.transcript import (
    Utterance,
    iter_numbered_lines,
    read_nfc_text,
    require_utterances,
    split_lines,
)


@pytest.fixture
def write(tmp_path):
    def written(data):
        path = tmp_path / "t.txt"
        path.write_bytes(data)
        return path

    return written


def test_text_is_nfc_without_a_byte_order_mark(write):
    decomposed = unicodedata.normalize("NFD", "café")
    assert read_nfc_text(write(b"\xef\xbb\xbf" + decomposed.encode())) == "café"
    assert read_nfc_text(write(b"plain\n")) == "plain\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\xe9\n", "txt:2: byte 0xe9 is not UTF-8"),
        ("a".encode("utf-16"), "UTF-16, not UTF-8"),
        (b"a\nb\n\0", "txt:3: .*NUL"),
    ],
)
def test_other_encodings_are_refused(write, data, message):
    with pytest.raises(UserError, match=message):
        read_nfc_text(write(data))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_nfc_text(tmp_path / "none")


def test_lines_are_numbered_and_blank_ones_skipped(write):
    data = "a\r\n\n  \nb\x0bc\u2028d\n".encode()
    assert iter_numbered_lines(write(data)) == [(1, "a"), (4, "b\x0bc\u2028d")]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb", ["a", "b"]),
        ("a\rb\r", ["a", "b"]),
        ("a\r\r\nb\r\r\n", ["a", "b"]),
        ("a\n\rb\n\n", ["a", "", "b", ""]),
        ("", []),
        ("\n", [""]),
    ],
)
def test_line_ends(text, lines):
    assert split_lines(text) == lines


def test_a_file_needs_utterances(tmp_path):
    some = [Utterance("1", "a", 1)]
    assert require_utterances(tmp_path, some) is some
    with pytest.raises(UserError, match="no utterances"):
        require_utterances(tmp_path, [])
