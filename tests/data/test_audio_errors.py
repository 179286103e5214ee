"""The error of a file that no decoder opens, by its first bytes."""

from __future__ import annotations

import pytest

from speechxfer.data.audio_errors import format_decoder_error, make_format_error, make_level_error, name_source


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"R", "is truncated or damaged (it has only 1 bytes)"),
        (b"RIFF", "is truncated or damaged (it has only 4 bytes)"),
        (b"fLaC" + bytes(20), "is truncated or damaged (it has only 24 bytes)"),
        (b"OggS" + b"\xff" * 60, "is truncated or damaged (why)"),
        (b"caff" + b"\xff" * 80, "is truncated or damaged (why)"),
        (
            b"FORMULA one is on at noon, " * 9,
            "is text, not audio (it begins 'FORMULA one is on at noon, FORMULA one i')",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the audio itself"),
        (b"\x7fELF" + b"\xff" * 80, "unknown audio format (why)"),
    ],
)
def test_the_first_bytes_tell_what_is_wrong(head: bytes, problem: str) -> None:
    error = make_format_error("a.wav", head, "why")
    assert (error.where, error.problem) == ("a.wav", problem)
    assert error.fix


def test_messages_of_the_decoder_and_names() -> None:
    wrong = RuntimeError("File does not exist or is not a regular file (possibly a pipe?).")
    assert format_decoder_error(wrong) == "its audio cannot be decoded"
    assert format_decoder_error(RuntimeError("Error : flac decoder lost sync.")) == "flac decoder lost sync"
    assert format_decoder_error(RuntimeError("")) == "RuntimeError"
    assert name_source(b"RIFF") == "embedded audio" and name_source("a.wav") == "a.wav"
    assert make_level_error("a.wav", 32_768.0).problem == "holds samples of up to 3.277e+04, where full scale is 1"
