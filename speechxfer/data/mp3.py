"""How long an MP3 is: stated in its first frame (Xing's and LAME's header), else counted frame by frame.

libsndfile guesses the length of a file that does not state it from its first frame, and then reads no further: a
quarter of the audio, or less, of a file whose bit rate varies. Frames are those of layer III in ISO/IEC 11172-3 and
13818-3.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

_KILOBITS = {  # by the header's index; 0 is a free format, 15 is forbidden
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),  # MPEG 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),  # MPEG 2 and 2.5
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by the version's bits


class Mp3Length(NamedTuple):
    """Bytes that the first frame says the audio has, and bytes that there are."""

    stated_bytes: int
    actual_bytes: int


def read_stated_length(source: str | Path | bytes) -> Mp3Length | None:
    """What an MP3's first frame states; None for an MP3 without such a frame, and for any other file."""
    with _open(source) as file:
        begin = _after_tag(file)
        file.seek(begin)
        frame = file.read(64)
        there = file.seek(0, io.SEEK_END) - begin
    at = _place_of_header(frame)
    if at is None or frame[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    if not flags & 2:
        return None
    at += 12 if flags & 1 else 8
    return Mp3Length(int.from_bytes(frame[at : at + 4], "big"), there)


def add_length_header(source: str | Path | bytes) -> bytes | None:
    """The file with a first frame that states its counted length; None where it states one, or is no MP3."""
    with _open(source) as file:
        begin = _after_tag(file)
        file.seek(begin)
        head = file.read(64)
        at = _place_of_header(head)
        if at is None or head[at : at + 4] in (b"Xing", b"Info"):
            return None
        audio = head + file.read()
    count = _frames(audio)
    if count < 2:  # the sync word was none
        return None
    first = bytes([0xFF, head[1] | 1, 0x80 | head[2] & 0x0C, head[3]])  # no checksum, 64 or 112 kbit/s, not padded
    numbers = b"".join(value.to_bytes(4, "big") for value in (3, count, _length(first) + len(audio)))
    return (first + bytes(at - 4) + b"Info" + numbers).ljust(_length(first), b"\0") + audio


def _frames(audio: bytes) -> int:
    """How many whole frames there are. What stands between them is stepped over, as decoders do."""
    count, place, in_step = 0, 0, True
    while 0 <= place <= len(audio) - 4:
        length = _length(audio[place : place + 4])
        after = place + length
        if length and after <= len(audio) and (in_step or _length(audio[after : after + 4])):
            count, place, in_step = count + 1, after, True
        else:
            place, in_step = audio.find(b"\xff", place + 1), False
    return count


def _open(source: str | Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _after_tag(file: BinaryIO) -> int:
    """Where the first frame begins: after an ID3v2 tag, whose size stands in 7 bits a byte (id3.org, ID3v2 3.1)."""
    tag = file.read(10)
    if tag[:3] != b"ID3" or len(tag) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))


def _length(header: bytes) -> int:
    """Bytes of the frame that begins with these four; 0 where no frame of layer III begins."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # sync, layer III
        return 0
    version, rate = header[1] >> 3 & 3, header[2] >> 2 & 3
    kilobits = _KILOBITS[version == 3][header[2] >> 4]
    if version == 1 or rate == 3 or not kilobits:
        return 0
    return (144_000 if version == 3 else 72_000) * kilobits // _RATES[version][rate] + (header[2] >> 1 & 1)


def _place_of_header(frame: bytes) -> int | None:
    """Where in a first frame Xing's header stands: after the side information. None where it is no frame."""
    if len(frame) < 64 or not _length(frame[:4]):
        return None
    mono = frame[3] >> 6 == 3
    return 4 + ((17 if mono else 32) if frame[1] & 0x08 else (9 if mono else 17))
