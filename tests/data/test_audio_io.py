"""Files that cannot be decoded, or are cut, against their messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from speechxfer.data.audio import decode_audio, load_waveform, measure_duration
from speechxfer.errors import UserError

Writer = Callable[..., Path]
FORMATS = ("wav", "flac", "ogg", "opus", "mp3")


def broken(folder: Path, write: Writer, kind: str) -> Path:
    """A file that is wrong in the way that `kind` says."""
    name, how = kind.split()
    file = folder / name
    whole = write(folder / f"whole{file.suffix}").read_bytes() if how == "cut" else b""
    contents = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello, I am a transcript\n" * 40,
        "page": b"<!DOCTYPE html><html>404</html>",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        "noise": np.random.default_rng(1).bytes(5000),
    }
    file.write_bytes(contents[how])
    return file


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("a.wav cut", "truncated or damaged (15978 of 32000 bytes of samples)"),
        ("a.flac cut", "truncated or damaged"),
        ("a.opus cut", "truncated or damaged"),
        ("a.ogg cut", "truncated or damaged"),
        ("a.mp3 cut", "truncated or damaged (1098 of 2196 bytes of MP3)"),
        ("a.wav empty", "is empty (0 bytes)"),
        ("a.wav text", "is text, not audio (it begins 'hello, I am a transcript')"),
        ("a.wav page", "is text, not audio"),
        ("a.wav lfs", "Git LFS pointer"),
        ("a.wav noise", "unknown audio format"),
        ("a.raw noise", "unknown audio format"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, write_tone: Writer, kind: str, message: str) -> None:
    file = broken(tmp_path, write_tone, kind)
    with pytest.raises(UserError) as caught:
        decode_audio(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    with pytest.raises(UserError) as caught:
        load_waveform({"audio": "as/in/the/table.wav", "path": str(file)})
    assert str(caught.value).startswith("as/in/the/table.wav: ")


@pytest.mark.parametrize("kind", [*(f"a.{k} cut" for k in FORMATS), "a.wav text", "a.wav empty"])
def test_it_is_found_before_anything_is_decoded(tmp_path: Path, write_tone: Writer, kind: str) -> None:
    with pytest.raises(UserError):
        measure_duration({"audio": "a", "path": str(broken(tmp_path, write_tone, kind))})


@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_a_file_cut_anywhere_is_found_before_anything_is_decoded(tmp_path: Path, write_tone: Writer, kind: str) -> None:
    whole = write_tone(tmp_path / f"a.{kind}", 4.0).read_bytes()
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        with pytest.raises(UserError, match=r"truncated or damaged|holds no samples"):
            measure_duration({"audio": "a", "path": "", "bytes": whole[: int(share * len(whole))]})
    assert measure_duration({"audio": "a", "path": "", "bytes": whole}) == pytest.approx(4.0)


@pytest.mark.parametrize("suffix", [".opus", ".ogg"])
def test_an_ogg_file_cut_anywhere_but_between_pages_is_refused(tmp_path: Path, write_tone: Writer, suffix: str) -> None:
    whole = write_tone(tmp_path / f"a{suffix}", 4.0).read_bytes()
    pages = [at for at in range(len(whole)) if whole.startswith(b"OggS", at)]
    assert len(pages) >= 3  # two of headers, then samples
    for keep in range(pages[2] + 10, len(whole), 97):
        if keep not in pages:
            with pytest.raises(UserError, match="truncated"):
                measure_duration({"audio": "a", "path": "", "bytes": whole[:keep]})
    assert measure_duration({"audio": "a", "path": "", "bytes": whole + b"TAG"}) == pytest.approx(4.0)


def test_a_streamed_wav_has_no_length_and_is_read(tmp_path: Path, write_tone: Writer) -> None:
    data = bytearray(write_tone(tmp_path / "a.wav").read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff\xff\xff\xff"  # as a program writes that cannot seek back
    assert len(decode_audio(bytes(data))) == 16_000


def test_the_name_does_not_decide_the_format(tmp_path: Path, write_tone: Writer) -> None:
    expected = decode_audio(write_tone(tmp_path / "a.wav"))
    for name in ("a.raw", "a.mp3", "a.flac", "a"):
        (tmp_path / name).write_bytes((tmp_path / "a.wav").read_bytes())
        np.testing.assert_array_equal(decode_audio(tmp_path / name), expected)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        decode_audio(tmp_path / "no.wav")
    with pytest.raises(UserError, match="is a folder"):
        decode_audio(tmp_path)
    with pytest.raises(UserError, match=r"paths with / instead of \\"):
        decode_audio(tmp_path / r"clips\no.wav")
