"""Headers of uncompressed audio: sizes that they state and the file lacks, and files that were joined.

libsndfile shortens a truncated file silently and notes it in its log, whose lines differ by format.
"""

from __future__ import annotations

import io
import re
from typing import BinaryIO

import soundfile

# by format: the line of libsndfile's log with the stated and the actual bytes
_STATED_BYTES = {
    "WAV": re.compile(r"^data : (\d+) \(should be (\d+)\)", re.M),
    "WAVEX": re.compile(r"^data : (\d+) \(should be (\d+)\)", re.M),
    "CAF": re.compile(r"^data : (\d+) \(should be (\d+)\)", re.M),
    "RF64": re.compile(r"^\s*Riff size : (\d+) \(should be (\d+)\)", re.M),
    "W64": re.compile(r"^riff : (\d+) \(should be (\d+)\)", re.M),
    "AIFF": re.compile(r"^ SSND : (\d+) \(should be (\d+)\)", re.M),
    "SVX": re.compile(r"^ BODY : (\d+) \(should be (\d+)\)", re.M),
    "AU": re.compile(r"^\s*Data Size\s*: (\d+) \(should be (\d+)\)", re.M),
    "WVE": re.compile(r"^Data length (\d+) should be (\d+)", re.M),
}
_STATED_FRAMES = re.compile(r"^\s*Frames\s*: (\d+)", re.M)
_NIST_FRAMES = re.compile(rb"^sample_count -i (\d+)", re.M)
# sizes that programs write which cannot go back to the header
_STREAMED = {0, 0x7FFFFFFF, 0x7FFFF000, 0x7F000000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36, 2**63 - 1, 2**64 - 1}
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")
_MAX_REST_BYTES = 1024  # after the samples, without being a chunk: padding and tags of some programs


def check_stated_length(file: soundfile.SoundFile, head: bytes) -> None:
    """Raise ValueError with the reason if an open file of uncompressed audio is shorter than it states."""
    log = file.extra_info
    found = _STATED_BYTES[file.format].search(log) if file.format in _STATED_BYTES else None
    if found and int(found[1]) > int(found[2]) and int(found[1]) not in _STREAMED:
        raise ValueError(f"{found[2]} of {found[1]} bytes of samples")
    frames = _NIST_FRAMES.search(head) if file.format == "NIST" else _STATED_FRAMES.search(log)
    stated = int(frames[1]) if frames else 0
    if file.frames < stated and stated not in _STREAMED:
        raise ValueError(f"{file.frames} of {stated} samples")


def find_joined_files(file: BinaryIO) -> list[int]:
    """Return the offset of each WAV, AIFF, AU or CAF file in a file, which joined files are several of.

    Raises: ValueError with the reason if sound seems to follow a WAV file's samples, whose stated size is too small.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    magic = file.read(4)
    starts = [0]
    while (end := _find_end(file, starts[-1], size)) is not None:
        file.seek(end)
        if file.read(4) != magic:
            break
        starts.append(end)
    return starts


def _find_end(file: BinaryIO, start: int, size: int) -> int | None:
    """Return the offset after the file that begins at `start`, by its stated sizes; None if it does not state them."""
    file.seek(start)
    head = file.read(28)
    if len(head) < 28:
        return None
    if head[:4] == b"RF64":
        return start + 8 + int.from_bytes(head[20:28], "little")
    if head[:4] == b".snd":
        offset, length = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
        return None if length in _STREAMED else start + offset + length
    if head[:4] == b"caff":
        return _skip_chunks(file, start + 8, size, magic=head[:4], size_bytes=8)
    return _skip_chunks(file, start + 12, size, magic=head[:4], size_bytes=4)


def _skip_chunks(file: BinaryIO, position: int, size: int, *, magic: bytes, size_bytes: int) -> int | None:
    """Return the offset of what follows the chunks from `position` on; None at the file's end, or without a size."""
    is_after_samples = False
    while position + 4 + size_bytes <= size:
        file.seek(position)
        name, stated = file.read(4), file.read(size_bytes)
        if name == magic or not all(32 <= byte < 127 for byte in name):
            if is_after_samples and magic == b"RIFF" and name != magic:
                file.seek(position)
                _check_rest(file.read(1 << 16), size - position)
            return position
        length = int.from_bytes(stated, "little" if magic == b"RIFF" else "big")
        if name in (b"data", b"SSND", b"BODY"):
            is_after_samples = True
            if length and length in _STREAMED:
                return None
        position += 4 + size_bytes + length
        if length & 1 and size_bytes == 4:  # a byte of padding, which some programs leave out
            file.seek(position)
            position += file.read(4) != magic
    return None


def _check_rest(rest: bytes, size: int) -> None:
    if size > _MAX_REST_BYTES and rest.strip(b"\0") and not rest.startswith(_TAGS):
        raise ValueError(f"its header states {size:,} bytes of samples less than the file holds")
