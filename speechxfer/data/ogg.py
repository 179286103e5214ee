"""The pages of Ogg files (RFC 3533): their checksums and numbers, and where the streams of a chain begin.

libsndfile leaves out damaged and missing pages without an error, and ends with the first stream of a chain.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_HEADER_BYTES = 27
_FIRST_PAGE, _LAST_PAGE = 2, 4  # flags
_TAG_BYTES = 65_536  # of a tag after the last page that is searched for another stream


class OggPage(NamedTuple):
    """A page. start: its offset in the file. granule: its position, in samples of the codec. number: its sequence."""

    start: int
    flags: int
    granule: int
    serial: int
    number: int


def find_ogg_streams(file: BinaryIO) -> list[int]:
    """Return the offset of each stream of a chain; streams that begin together are one.

    Raises: ValueError with the reason for a file whose pages are cut, damaged or missing.
    """
    streams: list[int] = []
    pages: dict[int, OggPage] = {}  # the last one of each stream of this link
    begins = False  # the previous page was the first of a stream
    for page in _iter_pages(file):
        if page.flags & _FIRST_PAGE:
            if not begins:
                streams.append(page.start)
                pages = {}
        elif page.serial in pages:
            previous = pages[page.serial]
            # a recording of a broadcast holds the headers, whose position is 0, and then pages from any number
            if page.number != previous.number + 1 and previous.granule != 0:
                raise ValueError(f"pages are missing before byte {page.start:,}")
        begins = bool(page.flags & _FIRST_PAGE)
        pages[page.serial] = page
    return streams


def compute_page_checksum(page: bytes) -> int:
    """Return the CRC-32 of a page without its own: polynomial 0x04c11db7, highest bit first, from 0 (RFC 3533, 6)."""
    reflected = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def _iter_pages(file: BinaryIO) -> Iterator[OggPage]:
    file.seek(0)
    start, flags = 0, 0
    while header := file.read(_HEADER_BYTES):
        if header[:4] != b"OggS"[: len(header)]:
            start = _find_next_stream(file, start) if flags & _LAST_PAGE else -1
            if start < 0 and not flags & _LAST_PAGE:
                raise ValueError(f"no page where one is expected, at byte {file.tell() - len(header):,}")
            if start < 0:  # a tag follows the last page
                return
            file.seek(start)
            continue
        segments = file.read(header[26]) if len(header) == _HEADER_BYTES else b""
        body = file.read(sum(segments))
        if len(header) < _HEADER_BYTES or len(segments) < header[26] or len(body) < sum(segments):
            raise ValueError("its last page is cut")
        page = header + segments + body
        if compute_page_checksum(page) != int.from_bytes(header[22:26], "little"):
            raise ValueError(f"the page at byte {start:,} has a wrong checksum")
        flags = header[5]
        numbers = (int.from_bytes(header[a:b], "little", signed=b == 14) for a, b in ((6, 14), (14, 18), (18, 22)))
        yield OggPage(start, flags, *numbers)
        start += len(page)


def _find_next_stream(file: BinaryIO, start: int) -> int:
    """Return the offset of a first page after a tag at `start`; -1 if there is none."""
    file.seek(start)
    found = file.read(_TAG_BYTES).find(b"OggS\0\2")
    return start + found if found >= 0 else -1
