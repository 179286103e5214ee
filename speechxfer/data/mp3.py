"""Length of MP3 files: stated in the first frame (Xing/LAME header), or counted frame by frame.

libsndfile estimates the length of a file without such a header from its first frame and stops reading there, which
loses three quarters or more of a variable bit rate file. Frames are those of layer III in ISO/IEC 11172-3 and 13818-3.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

_KILOBITS = {  # by index in the header; 0 is the free format, 15 is forbidden
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),  # MPEG 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),  # MPEG 2 and 2.5
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by the version's bits


class Mp3Length(NamedTuple):
    """Bytes of audio: stated in the first frame, and present in the file."""

    stated_bytes: int
    actual_bytes: int


def read_stated_length(source: str | Path | bytes) -> Mp3Length | None:
    """Read the length stated in the first frame; None for an MP3 without this header and for any other file."""
    with _open(source) as file:
        start = _skip_tag(file)
        file.seek(start)
        frame = file.read(64)
        actual = file.seek(0, io.SEEK_END) - start
    at = _find_header(frame)
    if at is None or frame[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    if not flags & 2:
        return None
    at += 12 if flags & 1 else 8
    return Mp3Length(int.from_bytes(frame[at : at + 4], "big"), actual)


def add_length_header(source: str | Path | bytes) -> bytes | None:
    """Return the file with a first frame that states its counted length; None if it has one or is not an MP3."""
    with _open(source) as file:
        file.seek(_skip_tag(file))
        head = file.read(64)
        at = _find_header(head)
        if at is None or head[at : at + 4] in (b"Xing", b"Info"):
            return None
        audio = head + file.read()
    count = _count_frames(audio)
    if count < 2:  # a false sync word: not an MP3
        return None
    first = bytes([0xFF, head[1] | 1, 0x80 | head[2] & 0x0C, head[3]])  # no checksum, 64 or 112 kbit/s, not padded
    numbers = b"".join(value.to_bytes(4, "big") for value in (3, count, _length(first) + len(audio)))
    return (first + bytes(at - 4) + b"Info" + numbers).ljust(_length(first), b"\0") + audio


def _count_frames(audio: bytes) -> int:
    """Count the complete frames. Data between frames is skipped, as decoders do."""
    count, position, synced = 0, 0, True
    while 0 <= position <= len(audio) - 4:
        length = _length(audio[position : position + 4])
        after = position + length
        if length and after <= len(audio) and (synced or _length(audio[after : after + 4])):
            count, position, synced = count + 1, after, True
        else:
            position, synced = audio.find(b"\xff", position + 1), False
    return count


def _open(source: str | Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _skip_tag(file: BinaryIO) -> int:
    """Return the offset of the first frame, after an ID3v2 tag (size in 7 bits per byte; id3.org, ID3v2 3.1)."""
    tag = file.read(10)
    if tag[:3] != b"ID3" or len(tag) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))


def _length(header: bytes) -> int:
    """Return the bytes of the frame that starts with this four-byte header; 0 if it is not one of layer III."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # sync, layer III
        return 0
    version, rate = header[1] >> 3 & 3, header[2] >> 2 & 3
    kilobits = _KILOBITS[version == 3][header[2] >> 4]
    if version == 1 or rate == 3 or not kilobits:
        return 0
    return (144_000 if version == 3 else 72_000) * kilobits // _RATES[version][rate] + (header[2] >> 1 & 1)


def _find_header(frame: bytes) -> int | None:
    """Return the offset of the Xing header in the first frame, after the side information; None if not a frame."""
    if len(frame) < 64 or not _length(frame[:4]):
        return None
    mono = frame[3] >> 6 == 3
    return 4 + ((17 if mono else 32) if frame[1] & 0x08 else (9 if mono else 17))
