"""Opening audio files: format detection, checks for truncated files, and the errors of unusable ones.

soundfile opens WAV, FLAC, Ogg, Opus and MP3; PyAV (extra 'av') opens containers such as m4a and webm.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import soundfile

from speechxfer.data import mp3
from speechxfer.errors import MissingExtraError, UserError

MIN_MP3_SHARE = 0.95  # share of the stated MP3 length that must be present; the last frame may be cut
MIN_CONTAINER_SHARE = 0.95  # the same for a container's stated duration, which includes samples that decoders skip
_WAV_SHORT = re.compile(r"data : (\d+) \(should be (\d+)\)")
_WAV_STREAMED = {0, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36}  # sizes written by pipes
_FORMATS = "WAV, FLAC, Ogg, Opus and MP3, and with the extra 'av' m4a and webm"


def name_source(source: str | Path | bytes) -> str:
    """Return the name of a source in messages."""
    return "embedded audio" if isinstance(source, bytes) else str(source)


def read_head(source: str | Path | bytes, size: int = 4096) -> bytes:
    """Return the first bytes. Raises UserError if the source is missing, a folder, unreadable or empty."""
    if isinstance(source, bytes):
        if not source:
            raise UserError("is empty (0 bytes)", where=name_source(source), fix="embed the file again")
        return source[:size]
    where, path = str(source), Path(source)
    if not where:
        raise UserError("no audio is named", where="audio", fix="fill the column 'audio'")
    try:
        if not path.is_file() and path.exists() and not path.is_dir():  # reading a pipe would block
            raise UserError("is a pipe or a device, not a file", where=where, fix="write the audio to a file")
        with path.open("rb") as file:
            head = file.read(size)
    except FileNotFoundError:
        fix = "correct the path in the table (paths are relative to the table)"
        if "\\" in path.name:
            fix = "write the folders of paths with / instead of \\: here a \\ is a letter of the file's name"
        raise UserError("no such file", where=where, fix=fix) from None
    except IsADirectoryError:
        raise UserError("is a folder, not an audio file", where=where, fix="name the file in it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read ({error})", where=where) from None
    if not head:
        raise UserError("is empty (0 bytes)", where=where, fix="copy or download the file again")
    return head


def needs_av(head: bytes) -> bool:
    """Whether PyAV is needed: m4a/mp4, webm/Matroska, AMR, ADTS AAC and ASF, which libsndfile cannot open."""
    return (
        head[4:8] == b"ftyp"
        or head.startswith((b"\x1aE\xdf\xa3", b"#!AMR", b"0&\xb2u\x8ef\xcf\x11"))
        or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0)  # ADTS: layer bits zero, unlike MP3
    )


def open_sound_file(source: str | Path | bytes, head: bytes) -> soundfile.SoundFile:
    """Open a file with libsndfile. Raises UserError if it is not audio, holds no samples or is truncated."""
    where = name_source(source)
    stated = mp3.read_stated_length(source)
    if stated and stated.actual_bytes < stated.stated_bytes * MIN_MP3_SHARE:
        raise make_damaged_error(where, f"{stated.actual_bytes} of {stated.stated_bytes} bytes of MP3")
    with_length = source if stated else mp3.add_length_header(source) or source
    try:
        file = soundfile.SoundFile(io.BytesIO(with_length) if isinstance(with_length, bytes) else str(with_length))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise _make_format_error(where, head, format_decoder_error(error)) from None
    if file.frames <= 0 or file.samplerate <= 0:
        file.close()
        truncated = head.startswith(b"OggS") and not _ends_on_page(source)
        raise make_damaged_error(where, "its last page is cut") if truncated else make_no_samples_error(where)
    try:
        _check_length(file, source, head)
    except UserError:
        file.close()
        raise
    return file


def open_av_container(source: str | Path | bytes) -> Any:
    """Open a container with PyAV. Raises UserError if it is damaged or has no audio, MissingExtraError without PyAV."""
    where = name_source(source)
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "av", f"{where}: this kind of file") from None
    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), mode="r")
    except (av.FFmpegError, ValueError) as error:
        raise make_damaged_error(where, getattr(error, "strerror", None) or str(error)) from None
    if not container.streams.audio:
        container.close()
        raise UserError("holds no audio track", where=where)
    return container


def get_container_duration(container: Any) -> float:
    """Return the stated duration of the audio in seconds; 0 if unknown.

    The duration of a container with a video is not used: its audio may be shorter.
    """
    stream = container.streams.audio[0]
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1_000_000 if len(container.streams) == 1 else 0.0  # microseconds


def resolve_span(length: float, start: float | None, end: float | None, where: str) -> tuple[float, float]:
    """Return the (start, end) to read, in seconds of a file of `length` seconds; None is the file's start or end.

    The end may exceed the file by up to 50 ms, as tables hold rounded times. Raises UserError for an empty span and
    for one that exceeds the file.
    """
    first, last = start or 0.0, length if end is None else end
    if first < 0 or last <= first:
        raise UserError(
            f"the cut from {first:g} s to {last:g} s is empty", where=where, fix="correct 'start' and 'end'"
        )
    if last > length + 0.05:
        fix = f"start and end are seconds of the file; this one lasts {length:.2f} s"
        raise UserError(f"the cut ends at {last:g} s, after the file's end", where=where, fix=fix)
    return first, min(last, length)


def check_flac_end(file: soundfile.SoundFile, source: str | Path | bytes) -> None:
    """Raise UserError for a truncated FLAC file: only its header states the length, so the last sample is read."""
    try:
        file.seek(file.frames - 1)
        found = len(file.read(1))
    except (soundfile.LibsndfileError, RuntimeError):
        found = 0
    if not found:
        raise make_damaged_error(name_source(source), f"the last of {file.frames} samples cannot be read")


def make_damaged_error(where: str, reason: str) -> UserError:
    """Return the error for a truncated or damaged file."""
    return UserError(f"is truncated or damaged ({reason})", where=where, fix="copy or download the file again")


def make_no_samples_error(where: str) -> UserError:
    """Return the error for a file without samples."""
    return UserError("holds no samples", where=where, fix="record it again, or leave the row out")


def make_not_finite_error(where: str) -> UserError:
    """Return the error for a float file with NaN or infinite samples."""
    return UserError("holds samples that are not numbers", where=where, fix="write the file again")


def format_decoder_error(error: Exception) -> str:
    """Return libsndfile's message without the object that it was given."""
    message = str(getattr(error, "error_string", error)).strip().removeprefix("Error : ")
    return message.rstrip(".") or type(error).__name__


def _make_format_error(where: str, head: bytes, reason: str) -> UserError:
    if head.startswith(b"version https://git-lfs"):
        return UserError("is a Git LFS pointer, not the audio itself", where=where, fix="git lfs pull")
    if _is_text(head):
        line = head.decode("utf-8", "replace").strip().splitlines()[0] if head.strip() else ""
        return UserError(f"is text, not audio (it begins '{line[:40]}')", where=where, fix="replace it by audio")
    if head[:4] in (b"RIFF", b"fLaC", b"OggS") or head[:3] == b"ID3":
        return make_damaged_error(where, reason)
    return UserError(f"unknown audio format ({reason})", where=where, fix=f"supported are {_FORMATS}")


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")  # the last character may be cut
    return len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)


def _check_length(file: soundfile.SoundFile, source: str | Path | bytes, head: bytes) -> None:
    """Raise UserError for a truncated file: libsndfile shortens it silently and notes it only in its log."""
    if file.format in ("WAV", "WAVEX", "RF64"):
        found = _WAV_SHORT.search(file.extra_info)
        if found and int(found[1]) > int(found[2]) and int(found[1]) not in _WAV_STREAMED:
            raise make_damaged_error(name_source(source), f"{found[2]} of {found[1]} bytes of samples")
    elif head.startswith(b"OggS") and not _ends_on_page(source):
        raise make_damaged_error(name_source(source), "its last page is cut")


def _ends_on_page(source: str | Path | bytes) -> bool:
    """Whether the last page of an Ogg file is complete (RFC 3533, 6).

    Some recorders never set the end-of-stream flag (4), so its absence is no sign of truncation.
    """
    max_page = 27 + 255 + 255 * 255
    if isinstance(source, bytes):
        tail = source[-max_page:]
    else:
        with Path(source).open("rb") as file:
            file.seek(max(0, Path(source).stat().st_size - max_page))
            tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27 or len(tail) < at + 27 + tail[at + 26]:
        return False
    segments = tail[at + 26]
    end = at + 27 + segments + sum(tail[at + 27 : at + 27 + segments])
    return end == len(tail) or (end < len(tail) and bool(tail[at + 5] & 4))  # tags may follow the last page
