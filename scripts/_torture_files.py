"""The damaged and odd audio files of scripts/torture.py, by kind. All is drawn from the generator passed in."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000
Rng = np.random.Generator
Made = tuple[Path, str | None]  # the file, and the verdict on it if only one is right
FORMATS: dict[str, tuple[str, str | None]] = {
    "wav": ("WAV", "PCM_16"), "24.wav": ("WAV", "PCM_24"), "float.wav": ("WAV", "FLOAT"), "8.wav": ("WAV", "PCM_U8"),
    "alaw.wav": ("WAV", "ALAW"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None), "aiff": ("AIFF", "PCM_16"), "w64": ("W64", "PCM_16"), "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"), "rf64.wav": ("RF64", "PCM_16"), "sph": ("NIST", "PCM_16"),
}  # fmt: skip
RATES = (1, 24, 3_999, 4_000, 7_999, 8_000, 11_127, 22_254, 44_101, 48_000, 192_000, 768_001, 3_000_017, 2**31 - 1)
NAMES = (
    b"\xff\xfe.wav", b"caf\xe9.wav", b"a\nb.wav", b"[red].wav", b"-o.wav", "\u05d0\u202e.wav".encode(), b"100%.wav",
    b"a b'\".wav", b"\xf0\x9f\x8e\xa4.wav", b"UPPER.WAV", b"no suffix", b"a.raw", b"x" * 200 + b".wav", b"a,b.wav",
    b"\x1b[31m.wav", b"..wav", b"~.wav", b"a\\b.wav",
)  # fmt: skip


def make_file(kind: str, folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    """Write one file of a kind to `folder`."""
    return KINDS[kind](folder, wave, rng)


def encode(wave: np.ndarray, suffix: str, rate: int = RATE) -> bytes:
    """Encode (time,) or (time, channels) as the format of a suffix of `FORMATS`."""
    kind, subtype = FORMATS[suffix]
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype)
    return file.getvalue()


def _choose(rng: Rng, choices: tuple) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _draw_format(rng: Rng) -> str:
    return str(_choose(rng, tuple(FORMATS)))


def _write(folder: Path, name: str | bytes, data: bytes) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + (name if isinstance(name, bytes) else name.encode())))
    path.write_bytes(data)
    return path


def _cut(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    suffix = _draw_format(rng)
    data = encode(wave, suffix)
    keep = _choose(rng, (0, 1, 3, 4, 8, 12, 44, 100, len(data) - 1)) if rng.random() < 0.4 else None
    keep = int(rng.integers(1, len(data))) if keep is None else keep
    return _write(folder, f"a.{suffix}", data[:keep]), "empty" if keep == 0 else None


def _flip(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    suffix = _draw_format(rng)
    data = bytearray(encode(wave, suffix))
    count = _choose(rng, (1, 8, 64, 200))
    at = int(rng.integers(0, len(data) - count))
    data[at : at + count] = rng.bytes(count)
    return _write(folder, f"a.{suffix}", bytes(data)), None


def _flip_head(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    suffix = _draw_format(rng)
    data = bytearray(encode(wave, suffix))
    for at in rng.integers(0, 64, size=int(rng.integers(1, 4))):
        data[at] ^= 1 << int(rng.integers(8))
    return _write(folder, f"a.{suffix}", bytes(data)), None


def _change_header(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    """One field of a WAV's header: format, channels, rate, bytes per second, block, bits, size of the samples."""
    data = bytearray(encode(wave, "wav"))
    start, size = ((20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2), (40, 4), (4, 4))[int(rng.integers(8))]
    value = _choose(rng, (0, 1, 3, 32, 1000, 2 ** (8 * size) - 1, 2 ** (8 * size - 1)))
    data[start : start + size] = value.to_bytes(size, "little")
    return _write(folder, "a.wav", bytes(data)), None


def _change_rate(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    rate = _choose(rng, RATES)
    data = bytearray(encode(wave, "wav"))
    data[24:28], data[28:32] = rate.to_bytes(4, "little"), (2 * rate & 0xFFFFFFFF).to_bytes(4, "little")
    return _write(folder, "a.wav", bytes(data)), "accepted" if 4_000 <= rate <= 768_000 else "rate"


def _state_flac_length(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    """As encoders that write to a pipe leave it (0 or all ones), or a wrong length."""
    data = bytearray(encode(wave, "flac"))
    total = _choose(rng, (0, 2**36 - 1, 1_000, len(wave) + 5_000, 2**35))
    data[21] = data[21] & 0xF0 | total >> 32
    data[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return _write(folder, "a.flac", bytes(data)), "accepted" if total in (0, 2**36 - 1) else "damaged"


def _join(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    suffix = _draw_format(rng)
    if rng.random() < 0.6:
        return _write(folder, f"a.{suffix}", encode(wave, suffix) + encode(wave[::-1], suffix)), "accepted"
    other = encode(wave[::-1], suffix, 48_000) if rng.random() < 0.5 else encode(wave, _draw_format(rng))
    return _write(folder, f"a.{suffix}", encode(wave, suffix) + other), None


def _surround(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    suffix = _draw_format(rng)
    data = encode(wave, suffix)
    tag = b"ID3\x03\0\0\0\0\x07\x76" + bytes(1_014)
    data = (tag + data, data + b"TAG".ljust(128), data + bytes(64), rng.bytes(20) + data)[int(rng.integers(4))]
    return _write(folder, f"a.{suffix}", data), None


def _change_values(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    wave = wave.astype(np.float64)
    at = int(rng.integers(len(wave)))
    value, verdict = ((np.nan, "not numbers"), (np.inf, "not numbers"), (-1e38, "level"), (1e300, "not numbers"),
        (32_768.0, "level"), (2.0, "accepted"))[int(rng.integers(6))]  # fmt: skip
    wave[at] = value
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format=str(_choose(rng, ("WAV", "AIFF", "W64", "AU"))), subtype="DOUBLE")
    return _write(folder, "a.wav", file.getvalue()), verdict


def _change_sound(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    sounds = (np.zeros(RATE), np.zeros(0), wave[:1], wave[:7], wave + 0.9, np.sign(wave), 1e-5 * wave, np.ones(RATE))
    kind = int(rng.integers(len(sounds)))
    data = encode(sounds[kind].astype(np.float32), str(_choose(rng, ("wav", "flac", "float.wav", "aiff"))))
    verdict = "accepted" if kind != 1 else "no samples" if data else "empty"  # FLAC of no samples has no bytes
    return _write(folder, "a.wav", data), verdict


def _change_channels(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    count = _choose(rng, (2, 3, 6, 8, 32, 256))
    suffix = str(_choose(rng, ("wav", "float.wav", "w64", "au") + (("flac", "opus", "ogg") if count <= 8 else ())))
    sides = wave[:, None] * rng.uniform(-1, 1, count)
    if rng.random() < 0.3:
        sides[:, 1::2] = -sides[:, :-1:2] if count % 2 == 0 else 0
    return _write(folder, f"a.{suffix}", encode(sides.astype(np.float32), suffix)), "accepted"


def _change_name(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    return _write(folder, NAMES[int(rng.integers(len(NAMES)))], encode(wave, "wav")), "accepted"


def _change_suffix(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    suffix = str(_choose(rng, ("wav", "mp3", "flac", "ogg", "aiff", "dat")))
    return _write(folder, f"a.{suffix}", encode(wave, _draw_format(rng))), "accepted"


def _write_other(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    contents = (
        (b"hello, a transcript\n" * 30, "text"), (b"<!DOCTYPE html><html>404</html>", "text"), (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "text"), (rng.bytes(5_000), None),
        (bytes(5_000), None), (b"PK\x03\x04" + rng.bytes(500), None), (b"\x7fELF" + rng.bytes(500), None),
        (b"\0\0\0\x20ftypM4A " + rng.bytes(500), None), (b"\x1aE\xdf\xa3" + rng.bytes(500), None),
        (b"\xff\xfb" + rng.bytes(5_000), None), (b"ID3" + rng.bytes(100), None), (b"OggS" + rng.bytes(3_000), None),
        (b"RIFF" + rng.bytes(200), None), (b"fLaC" + rng.bytes(200), None), (b"#!AMR\n" + rng.bytes(200), None),
    )  # fmt: skip
    data, verdict = contents[int(rng.integers(len(contents)))]
    return _write(folder, "a.wav", data), verdict


def _make_no_file(folder: Path, wave: np.ndarray, rng: Rng) -> Made:
    path = folder / "a.wav"
    kind = int(rng.integers(4))
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(path)
    elif kind == 2:
        path.symlink_to("/dev/zero")
    return path, "not a file"  # kind 3: a missing one


KINDS: dict[str, Callable[[Path, np.ndarray, Rng], Made]] = {
    "cut": _cut, "flipped": _flip, "head": _flip_head, "header": _change_header, "rate": _change_rate,
    "flac-length": _state_flac_length, "joined": _join, "surrounded": _surround, "values": _change_values,
    "sound": _change_sound, "channels": _change_channels, "name": _change_name, "suffix": _change_suffix,
    "other": _write_other, "no-file": _make_no_file,
}  # fmt: skip
