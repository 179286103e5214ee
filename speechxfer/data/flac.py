"""FLAC headers (RFC 9639): whether the stated number of samples is that of the frames, and where joined files begin.

Encoders that write to a pipe state 0 samples, or the highest number that fits. libsndfile stops at the stated number.
"""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

_MARKER = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # with the header of STREAMINFO, always the first block
_STREAMINFO = slice(8, 42)
_UNKNOWN_SAMPLES = {0, 2**36 - 1}
_CHUNK_BYTES = 1 << 20
_MAX_FRAME_HEADER = 16  # bytes
_BLOCK_SIZES = {1: 192} | {code: 576 << code - 2 for code in range(2, 6)} | {code: 1 << code for code in range(8, 16)}


class FlacInfo(NamedTuple):
    """The STREAMINFO block. samples: in all, of one channel; None if not stated. max_frame_bytes: an upper bound."""

    block_size: int
    samples: int | None
    max_frame_bytes: int


def find_flac_streams(file: BinaryIO) -> list[int]:
    """Return the offset of each FLAC file in a file, which joined files are several of."""
    file.seek(0)
    found, start, kept = [], 0, b""
    while chunk := file.read(_CHUNK_BYTES):
        data = kept + chunk
        found += [start + match.start() for match in _MARKER.finditer(data)]
        start, kept = start + len(data) - 7, data[-7:]  # a marker has 8 bytes
    return sorted(set(found))


def read_flac_info(head: bytes) -> FlacInfo | None:
    """Read the header of a FLAC file from its first 42 bytes; None if they are not one."""
    info = head[_STREAMINFO]
    if not _MARKER.match(head) or len(info) < 34:
        return None
    fields = int.from_bytes(info[10:18], "big")
    channels, bits = (fields >> 41 & 7) + 1, (fields >> 36 & 31) + 1
    samples = fields & 2**36 - 1
    largest = int.from_bytes(info[2:4], "big")
    bound = largest * channels * -(-(bits + 1) // 8) + 1024
    return FlacInfo(largest, None if samples in _UNKNOWN_SAMPLES else samples, bound)


def ends_at_stated_sample(tail: bytes, info: FlacInfo) -> bool:
    """Whether a frame in the last bytes of a FLAC file ends at the stated number of samples, and none starts there."""
    marks = re.finditer(rb"\xff[\xf8\xf9]", tail)
    spans = [_read_frame_span(tail[mark.start() : mark.start() + _MAX_FRAME_HEADER], info) for mark in marks]
    ends = {span[1] for span in spans if span is not None}
    return info.samples in ends and info.samples not in {span[0] for span in spans if span is not None}


def _read_frame_span(header: bytes, info: FlacInfo) -> tuple[int, int] | None:
    """Return the samples before and up to the end of the frame with this header; None if it is not a frame's."""
    if len(header) < 6 or header[3] & 1:
        return None
    number, size = _read_coded_number(header[4:])
    at = 4 + size
    code = header[2] >> 4
    extra = {6: 1, 7: 2}.get(code, 0)
    block = int.from_bytes(header[at : at + extra], "big") + 1 if extra else _BLOCK_SIZES.get(code, 0)
    at += extra + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    if not size or not block or at >= len(header) or _compute_crc8(header[:at]) != header[at]:
        return None
    start = number * (1 if header[1] & 1 else info.block_size)
    return start, start + block


def _read_coded_number(data: bytes) -> tuple[int, int]:
    """Return a frame's or sample's number, coded like UTF-8 in up to 7 bytes, and its size; size 0 if it is invalid."""
    first = data[0]
    size = 8 - (~first & 0xFF).bit_length()  # leading ones
    if size == 0:
        return first, 1
    if size in (1, 8) or len(data) < size or any(byte >> 6 != 2 for byte in data[1:size]):
        return 0, 0
    number = first & (0x7F >> size)
    for byte in data[1:size]:
        number = number << 6 | byte & 0x3F
    return number, size


def _compute_crc8(data: bytes) -> int:
    """Return the checksum of a frame's header: polynomial 0x07 from 0 (RFC 9639, 9.1.8)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1) ^ (0x107 if crc & 0x80 else 0)
    return crc
