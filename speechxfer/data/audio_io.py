"""Opening audio files: detection of the format, checks of the whole file, and spans.

soundfile opens WAV, FLAC, Ogg, Opus and MP3; PyAV (extra 'av') opens containers such as m4a and webm.
"""

from __future__ import annotations

import io
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from speechxfer.data import flac, mp3, ogg, riff
from speechxfer.data.audio_errors import (
    format_decoder_error,
    make_damaged_error,
    make_format_error,
    make_no_samples_error,
    name_source,
)
from speechxfer.data.decoder_messages import discard_decoder_messages
from speechxfer.errors import MissingExtraError, UserError

Source = str | Path | bytes  # a file, or its bytes

RATES = (4_000, 768_000)  # Hz; below, speech has lost its words, and above, the header is damaged


def read_head(source: Source, size: int = 4096) -> bytes:
    """Return the first bytes. Raises UserError if the source is missing, a folder, unreadable or empty."""
    where = name_source(source)
    if isinstance(source, bytes):
        if not source:
            raise UserError("is empty (0 bytes)", where=where, fix="embed the file again")
        return source[:size]
    path = Path(source)
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


def split_joined_files(source: Source, head: bytes) -> list[Source]:
    """Return the audio files that were joined to one (also a chain of Ogg streams); mostly the source itself.

    An MP3 is returned as bytes if its frames are not those that its header states, or not contiguous.
    Raises: UserError for Ogg pages that are cut, damaged or missing, and for a WAV header that states too few samples.
    """
    try:
        if head.startswith((b"ID3", b"\xff")) and mp3.is_mp3(source):
            return [mp3.repair(source)]
        with open_binary(source) as file:
            if head.startswith((b"fLaC", b"ID3")):
                starts = flac.find_flac_streams(file)
            elif head.startswith(b"OggS"):
                starts = ogg.find_ogg_streams(file)
            elif head.startswith((b"RIFF", b"RF64", b"FORM", b".snd", b"caff")):
                starts = riff.find_joined_files(file)
            else:
                starts = []
            if len(starts) < 2:
                return [source]
            ends = [*starts[1:], file.seek(0, io.SEEK_END)]
            parts: list[Source] = []
            for start, end in zip(starts, ends, strict=True):
                file.seek(start)
                parts.append(file.read(end - start))
            return parts
    except ValueError as error:
        raise make_damaged_error(name_source(source), str(error)) from None


class _DamagedBytes(io.BytesIO):
    """Bytes of a file whose header may point before its start, where libsndfile would have Python print an error."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self.getbuffer())}[whence]
        return super().seek(max(0, start + offset))


def open_sound_file(source: Source, head: bytes, where: str) -> soundfile.SoundFile:
    """Open one file with libsndfile. Raises UserError if it is not audio, holds no samples or is truncated."""
    opened: BinaryIO | bytes
    if isinstance(source, bytes):
        opened = _DamagedBytes(source)
    elif Path(source).suffix.lower() == ".raw":  # soundfile takes this name for samples without a header
        opened = os.fdopen(os.open(source, os.O_RDONLY), "rb")
    else:
        opened = os.fsencode(source)  # soundfile does not encode names that are not UTF-8
    is_mp3 = head.startswith((b"ID3", b"\xff"))
    try:
        with discard_decoder_messages() if is_mp3 else nullcontext():
            file = soundfile.SoundFile(opened)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise make_format_error(where, head, format_decoder_error(error)) from None
    try:
        if file.frames <= 0 or file.samplerate <= 0:
            raise make_no_samples_error(where)
        check_sampling_rate(file.samplerate, where)
        if file.format == "FLAC":
            _check_flac_end(file, source)
        elif file.format != "OGG":
            riff.check_stated_length(file, head)
    except ValueError as error:
        file.close()
        raise make_damaged_error(where, str(error)) from None
    except UserError:
        file.close()
        raise
    return file


def check_sampling_rate(rate: int, where: str) -> None:
    """Raise UserError for a sampling rate that no speech was recorded with."""
    low, high = RATES
    if not low <= rate <= high:
        problem = f"states a sampling rate of {rate:,} Hz; {low:,} to {high:,} Hz can be read"
        raise UserError(problem, where=where, fix="write the file again with its true rate, e.g. 16,000 Hz")


def open_binary(source: Source) -> BinaryIO:
    """Open a file, or the bytes of one, for reading."""
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def open_av_container(source: Source) -> Any:
    """Open a container with PyAV. Raises UserError if it is damaged or has no audio, MissingExtraError without PyAV."""
    where = name_source(source)
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "av", f"{where}: this kind of file") from None
    is_name = not isinstance(source, bytes) and str(source).isprintable()  # PyAV encodes no name that is not UTF-8
    try:
        container = av.open(str(source) if is_name else open_binary(source), mode="r")
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


def _check_flac_end(file: soundfile.SoundFile, source: Source) -> None:
    """Raise ValueError unless the frames of a FLAC file end at the number of samples that its header states.

    A number that is not stated is not checked: decoding tells it.
    """
    with open_binary(source) as binary:
        binary.seek(mp3.find_end_of_tag(binary))
        info = flac.read_flac_info(binary.read(42))
        if info is None or info.samples is None:
            return
        size = binary.seek(0, io.SEEK_END)
        binary.seek(max(0, size - info.max_frame_bytes))
        tail = binary.read()
    try:
        file.seek(file.frames - 1)
        is_complete = len(file.read(1)) == 1
        file.seek(0)
    except (soundfile.LibsndfileError, RuntimeError):
        is_complete = False
    if not is_complete:
        raise ValueError(f"the last of {file.frames} samples cannot be read")
    if not flac.ends_at_stated_sample(tail, info):
        raise ValueError(f"its frames do not end at sample {info.samples}, the last that its header states")
