"""Frames of MP3 files: counted one by one and compared with the number in the first frame (Xing/LAME header).

libsndfile estimates the length of a file without such a header from its first frame and stops reading there, which
loses three quarters or more of a variable bit rate file. Frames are those of layer III in ISO/IEC 11172-3 and 13818-3.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

MIN_SHARE = 0.95  # of the stated length that must be present; the last frame may be cut
_HEAD_BYTES = 64
_KILOBITS = {  # by index in the header; 0 is the free format, 15 is forbidden
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),  # MPEG 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),  # MPEG 2 and 2.5
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by the version's bits


def is_mp3(source: str | Path | bytes) -> bool:
    """Whether a file starts with an MP3 frame, possibly after an ID3v2 tag."""
    with _open(source) as file:
        file.seek(find_end_of_tag(file))
        return _find_header(file.read(_HEAD_BYTES)) is not None


def repair(source: str | Path | bytes) -> str | Path | bytes:
    """Return an MP3 of contiguous frames whose first frame states their number; mostly the source itself.

    Decoders stop at the stated number, and where they find no frame for a kilobyte. So joined files, files without
    this header (their frames are counted) and files with tags or damage between their frames are returned as bytes.
    Raises: ValueError with the reason for a truncated file, and for joined files of different rates or channels.
    """
    with _open(source) as file:
        file.seek(find_end_of_tag(file))
        audio = file.read()
    stated = _read_stated(audio[:_HEAD_BYTES])
    if stated and len(audio) < stated.num_bytes * MIN_SHARE:
        raise ValueError(f"{len(audio)} of {stated.num_bytes} bytes of MP3")
    count, spans = _find_frames(audio, _length(audio[:4]) if stated else 0)
    if stated and count < stated.frames * MIN_SHARE - 1:
        raise ValueError(f"{count} of {stated.frames} frames of MP3")
    if count < 2 or (stated and stated.frames and count <= stated.frames + 1 and len(spans) == 1):
        return source  # fewer than two frames: a false sync word, not an MP3
    return _make_length_header(audio[:4], count, spans) + b"".join(audio[start:end] for start, end in spans)


def find_end_of_tag(file: BinaryIO) -> int:
    """Return the offset after an ID3v2 tag at the start of a file; 0 without a tag."""
    file.seek(0)
    return _measure_tag(file.read(10))


class _StatedLength(NamedTuple):
    """The number of frames and bytes in a Xing or Info header; 0 if it does not state them."""

    frames: int
    num_bytes: int


def _read_stated(frame: bytes) -> _StatedLength | None:
    """Read the header in the first frame; None for an MP3 without it."""
    at = _find_header(frame)
    if at is None or frame[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags, at = int.from_bytes(frame[at + 4 : at + 8], "big"), at + 8
    frames = int.from_bytes(frame[at : at + 4], "big") if flags & 1 else 0
    at += 4 if flags & 1 else 0
    return _StatedLength(frames, int.from_bytes(frame[at : at + 4], "big") if flags & 2 else 0)


def _make_length_header(header: bytes, count: int, spans: list[tuple[int, int]]) -> bytes:
    """Return a frame of silence that states the frames and bytes that follow it."""
    first = bytes([0xFF, header[1] | 1, 0x80 | header[2] & 0x0C, header[3]])  # no checksum, 64 or 112 kbit/s, unpadded
    size = _length(first) + sum(end - start for start, end in spans)
    numbers = b"".join(value.to_bytes(4, "big") for value in (3, count, size))
    return (first + bytes(_measure_side_info(header)) + b"Info" + numbers).ljust(_length(first), b"\0")


def _find_frames(audio: bytes, position: int) -> tuple[int, list[tuple[int, int]]]:
    """Return the number of complete frames, and the spans of bytes that hold nothing else.

    What is not a frame of the first one's rate and channels is skipped, as decoders do; where two such frames follow
    each other, the file changes and ValueError is raised.
    """
    kind = _get_kind(audio[:4])
    count, synced = 0, True
    spans: list[list[int]] = []
    while 0 <= position <= len(audio) - 4:
        length = _length(audio[position : position + 4])
        after = position + length
        following = audio[after : after + 4]
        is_frame = length and after <= len(audio) and (synced or _length(following))
        if is_frame and _get_kind(audio[position : position + 4]) != kind:
            if _length(following) and _get_kind(following) == _get_kind(audio[position : position + 4]):
                raise ValueError(f"its sampling rate or number of channels changes at byte {position:,}")
            is_frame = False
        if is_frame:
            if spans and spans[-1][1] == position:
                spans[-1][1] = after
            else:
                spans.append([position, after])
            count, position, synced = count + 1, after, True
        elif tag := _measure_tag(audio[position : position + 10]):
            position += tag
        else:
            position, synced = _find_sync(audio, position + 1), False
    return count, [(start, end) for start, end in spans]


def _find_sync(audio: bytes, position: int) -> int:
    """Return the offset of the next sync word or ID3v2 tag; -1 if there is none."""
    tag = audio.find(b"ID3", position, position + 4096)
    sync = audio.find(b"\xff", position)
    return tag if 0 <= tag < sync else sync


def _open(source: str | Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _measure_tag(tag: bytes) -> int:
    """Return the bytes of an ID3v2 tag that starts so, 0 if none does (7 bits of its size per byte; id3.org, 3.1)."""
    if tag[:3] != b"ID3" or len(tag) < 10 or any(byte > 0x7F for byte in tag[6:]):
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))


def _get_kind(header: bytes) -> tuple[int, int, bool]:
    """Return what all frames of a file share: version, sampling rate, and whether it is mono."""
    return header[1] & 0x18, header[2] & 0x0C, header[3] >> 6 == 3


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
    if len(frame) < _HEAD_BYTES or not _length(frame[:4]):
        return None
    return 4 + _measure_side_info(frame)


def _measure_side_info(header: bytes) -> int:
    mono = header[3] >> 6 == 3
    return (17 if mono else 32) if header[1] & 0x08 else (9 if mono else 17)
