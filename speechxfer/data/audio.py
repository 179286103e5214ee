"""Audio files become waveforms: any rate, mono or stereo, WAV, FLAC, Ogg, Opus, MP3, and m4a or webm through PyAV.

soundfile decodes (torchaudio.load needs torchcodec, whose versions are tied to torch's); torchaudio resamples.
A file that holds less than its header promises is refused: half an utterance against a whole text trains a wrong model.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from speechxfer.data import mp3
from speechxfer.errors import MissingExtraError, UserError, explain_torchaudio_mismatch
from speechxfer.shapes import SAMPLE_RATE

try:
    from torchaudio.functional import resample
except Exception as error:  # OSError, ImportError or RuntimeError, as its libraries fail
    raise explain_torchaudio_mismatch(error) from error

_WAV_SHORT = re.compile(r"data : (\d+) \(should be (\d+)\)")
_WAV_STREAMED = {0, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36}  # sizes that a pipe leaves open
_MP3_SLACK = 0.95  # the share of a stated MP3 length that must be there; its last frame may be cut
_AV_SLACK = 0.95  # the same of a container's stated length, which includes what decoders skip
_SILENT = 10 ** (-60 / 20)  # a peak, of full scale
_FORMATS = "WAV, FLAC, Ogg, Opus and MP3, and with the extra 'av' m4a and webm"


def decode_audio(
    source: str | Path | bytes, rate: int = SAMPLE_RATE, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """The waveform of a file, or of a file's bytes: (time,) float32, mono (the channels' mean), at `rate` Hz.

    start, end: the cut to read, in seconds of the file; None is the file's own beginning or end.
    Raises UserError naming the file: missing, empty, truncated, not audio, or a cut that lies outside it;
    MissingExtraError for a container that needs PyAV.
    """
    samples, own_rate = decode_channels(source, start, end)
    waveform = samples.mean(axis=1, dtype=np.float32)
    if own_rate != rate:
        waveform = resample(torch.from_numpy(waveform), own_rate, rate).numpy()
    return np.ascontiguousarray(waveform)


def decode_channels(
    source: str | Path | bytes, start: float | None = None, end: float | None = None
) -> tuple[np.ndarray, int]:
    """The samples as the file has them, (time, channels) float32, and their rate in Hz. Raises as `decode` does."""
    where = _name(source)
    head = _head(source)
    if _needs_av(head):
        samples, rate = _decode_av(source, where)
        first, last = _cut(len(samples) / rate, start, end, where)
        return samples[round(first * rate) : round(last * rate)], rate
    with _open(source, head) as file:
        first, last = _cut(file.frames / file.samplerate, start, end, where)
        skip, count = round(first * file.samplerate), round(last * file.samplerate) - round(first * file.samplerate)
        exact = file.format != "MP3"  # libsndfile seeks in MP3 to the wrong place
        try:
            if skip and exact:
                file.seek(skip)
            samples = file.read(count if exact else skip + count, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise _damaged(where, _words(error)) from None
        if not exact:
            samples = samples[skip:]
        if len(samples) < count * (1 if exact else _MP3_SLACK):
            raise _damaged(where, f"ends after {len(samples)} of {count} samples")
        if not np.isfinite(samples).all():
            raise UserError("holds samples that are not numbers", where=where, fix="write the file again")
        return samples, file.samplerate


def load_waveform(row: Mapping[str, Any]) -> np.ndarray:
    """The waveform of a row of our Dataset (`path` or embedded `bytes`; `start`, `end`): (time,) float32 at 16 kHz.

    Raises UserError naming the row's audio.
    """
    try:
        return decode_audio(get_audio_source(row), SAMPLE_RATE, row.get("start"), row.get("end"))
    except UserError as error:
        raise name_row_in_error(error, row) from None


def measure_duration(row: Mapping[str, Any]) -> float:
    """Duration of a row's utterance in seconds, from the file's header (nothing is decoded but m4a and webm).

    Raises UserError naming the row's audio where the header shows that it cannot be used.
    """
    try:
        return _seconds(get_audio_source(row), row.get("start"), row.get("end"))
    except UserError as error:
        raise name_row_in_error(error, row) from None


def is_silent(samples: np.ndarray) -> bool:
    """Whether no speech of any level is in it: no sample reaches -60 dB of full scale. A muted microphone, mostly."""
    return bool(np.abs(samples).max(initial=0.0) < _SILENT)


def get_audio_source(row: Mapping[str, Any]) -> str | bytes:
    """What to give to `decode` for a row: its embedded bytes, else its path."""
    return row["bytes"] if row.get("bytes") is not None else row["path"]


def _seconds(source: str | bytes, start: float | None, end: float | None) -> float:
    head = _head(source)
    if _needs_av(head):
        samples, rate = _decode_av(source, _name(source))
        length = len(samples) / rate
    else:
        with _open(source, head) as file:
            if file.format == "FLAC":
                _refuse_without_end(file, source)
            length = file.frames / file.samplerate
    first, last = _cut(length, start, end, _name(source))
    return last - first


def name_row_in_error(error: UserError, row: Mapping[str, Any]) -> UserError:
    """The same mistake under the name that the table gives the audio; what is to be installed stands in its words."""
    if isinstance(error, MissingExtraError):
        problem = f"needs the package '{error.package}', which is not installed: {error.fix}"
        return UserError(problem, where=str(row.get("audio") or row.get("id")))
    return UserError(error.problem, where=str(row.get("audio") or row.get("id") or error.where), fix=error.fix)


def _name(source: str | Path | bytes) -> str:
    return "embedded audio" if isinstance(source, bytes) else str(source)


def _head(source: str | Path | bytes, size: int = 4096) -> bytes:
    """The first bytes. Raises UserError for what is missing, a folder, unreadable or empty."""
    if isinstance(source, bytes):
        if not source:
            raise UserError("is empty (0 bytes)", where=_name(source), fix="embed the file again")
        return source[:size]
    where, path = str(source), Path(source)
    if not where:
        raise UserError("no audio is named", where="audio", fix="fill the column 'audio'")
    try:
        if not path.is_file() and path.exists() and not path.is_dir():  # a pipe would be waited for, for ever
            raise UserError("is a pipe or a device, not a file", where=where, fix="write the audio to a file")
        with path.open("rb") as file:
            head = file.read(size)
    except FileNotFoundError:
        raise UserError("no such file", where=where, fix="paths are relative to the table: mend them there") from None
    except IsADirectoryError:
        raise UserError("is a folder, not an audio file", where=where, fix="name the file in it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read ({error})", where=where) from None
    if not head:
        raise UserError("is empty (0 bytes)", where=where, fix="copy or download the file again")
    return head


def _open(source: str | Path | bytes, head: bytes) -> soundfile.SoundFile:
    """The file for libsndfile. Raises UserError for what is no audio, holds nothing or is cut."""
    where = _name(source)
    stated = mp3.read_stated_length(source)
    if stated and stated.actual_bytes < stated.stated_bytes * _MP3_SLACK:
        raise _damaged(where, f"{stated.actual_bytes} of {stated.stated_bytes} bytes of MP3")
    known = source if stated else mp3.add_length_header(source) or source
    try:
        file = soundfile.SoundFile(io.BytesIO(known) if isinstance(known, bytes) else str(known))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise _not_audio(where, head, _words(error)) from None
    if file.frames <= 0 or file.samplerate <= 0:
        file.close()
        cut = head.startswith(b"OggS") and not _ends_on_page(source)
        raise _damaged(where, "its last page is cut") if cut else _without_samples(where)
    try:
        _refuse_truncated(file, source, head)
    except UserError:
        file.close()
        raise
    return file


def _not_audio(where: str, head: bytes, words: str) -> UserError:
    if head.startswith(b"version https://git-lfs"):
        return UserError("is a Git LFS pointer, not the audio itself", where=where, fix="git lfs pull")
    if _is_text(head):
        line = head.decode("utf-8", "replace").strip().splitlines()[0] if head.strip() else ""
        return UserError(f"is text, not audio (it begins '{line[:40]}')", where=where, fix="put the recording there")
    if head[:4] in (b"RIFF", b"fLaC", b"OggS") or head[:3] == b"ID3":
        return _damaged(where, words)
    return UserError(f"is in no known audio format ({words})", where=where, fix=f"read are {_FORMATS}")


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")  # the last character may be cut
    return len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)


def _damaged(where: str, words: str) -> UserError:
    return UserError(f"is truncated or damaged ({words})", where=where, fix="copy or download the file again")


def _without_samples(where: str) -> UserError:
    return UserError("holds no samples", where=where, fix="record it again, or leave the row out")


def _words(error: Exception) -> str:
    """libsndfile's own words without the object that it was given."""
    words = str(getattr(error, "error_string", error)).strip().removeprefix("Error : ")
    return words.rstrip(".") or type(error).__name__


def _refuse_truncated(file: soundfile.SoundFile, source: str | Path | bytes, head: bytes) -> None:
    """libsndfile shortens a cut file without a word, except in its log."""
    if file.format in ("WAV", "WAVEX", "RF64"):
        found = _WAV_SHORT.search(file.extra_info)
        if found and int(found[1]) > int(found[2]) and int(found[1]) not in _WAV_STREAMED:
            raise _damaged(_name(source), f"{found[2]} of {found[1]} bytes of samples")
    elif head.startswith(b"OggS") and not _ends_on_page(source):
        raise _damaged(_name(source), "its last page is cut")


def _refuse_without_end(file: soundfile.SoundFile, source: str | Path | bytes) -> None:
    """A FLAC file's length stands in its header alone: whether its last sample is there, only reading it shows."""
    try:
        file.seek(file.frames - 1)
        found = len(file.read(1))
    except (soundfile.LibsndfileError, RuntimeError):
        found = 0
    if not found:
        raise _damaged(_name(source), f"the last of {file.frames} samples cannot be read")


def _ends_on_page(source: str | Path | bytes) -> bool:
    """Whether an Ogg file's last page is whole (RFC 3533, 6). Some recorders never set the end-of-stream flag (4)."""
    longest = 27 + 255 + 255 * 255
    if isinstance(source, bytes):
        tail = source[-longest:]
    else:
        with Path(source).open("rb") as file:
            file.seek(max(0, Path(source).stat().st_size - longest))
            tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27 or len(tail) < at + 27 + tail[at + 26]:
        return False
    segments = tail[at + 26]
    end = at + 27 + segments + sum(tail[at + 27 : at + 27 + segments])
    return end == len(tail) or (end < len(tail) and bool(tail[at + 5] & 4))  # tags may follow the last page


def _cut(length: float, start: float | None, end: float | None, where: str) -> tuple[float, float]:
    """The cut in seconds. A cut may end up to 50 ms after the file: tables round."""
    first, last = start or 0.0, length if end is None else end
    if first < 0 or last <= first:
        raise UserError(f"the cut from {first:g} s to {last:g} s holds nothing", where=where, fix="mend start and end")
    if last > length + 0.05:
        fix = f"start and end are seconds of the file; this one lasts {length:.2f} s"
        raise UserError(f"the cut ends at {last:g} s, after the file's end", where=where, fix=fix)
    return first, min(last, length)


def _needs_av(head: bytes) -> bool:
    """m4a/mp4, webm/Matroska, AMR, ADTS AAC, ASF: containers that libsndfile cannot open."""
    return (
        head[4:8] == b"ftyp"
        or head.startswith((b"\x1aE\xdf\xa3", b"#!AMR", b"0&\xb2u\x8ef\xcf\x11"))
        or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0)  # ADTS: layer bits zero, unlike MP3
    )


def _decode_av(source: str | Path | bytes, where: str) -> tuple[np.ndarray, int]:
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "av", f"{where}: this kind of file") from None
    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), mode="r") as container:
            if not container.streams.audio:
                raise UserError("holds no audio track", where=where)
            stream = container.streams.audio[0]
            rate, pieces = int(stream.rate or 0), []
            resampler = av.AudioResampler(format="fltp", rate=rate)
            for frame in container.decode(stream):
                pieces += [piece.to_ndarray().T for piece in resampler.resample(frame)]
            pieces += [piece.to_ndarray().T for piece in resampler.resample(None)]
            stated = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            if not stated and len(container.streams) == 1:  # beside a video the audio may be the shorter
                stated = (container.duration or 0) / av.time_base
    except (av.FFmpegError, ValueError) as error:
        raise _damaged(where, getattr(error, "strerror", None) or str(error)) from None
    if not pieces or not rate:
        raise _without_samples(where)
    samples = np.concatenate(pieces).astype(np.float32)
    if len(samples) / rate < _AV_SLACK * stated - 0.1:
        raise _damaged(where, f"{len(samples) / rate:.2f} of {stated:.2f} s")
    return samples, rate
