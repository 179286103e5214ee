"""Decoding of audio files to waveforms: any sampling rate, mono or stereo.

soundfile decodes WAV, FLAC, Ogg, Opus and MP3 (torchaudio.load needs torchcodec, which is tied to torch's version),
PyAV decodes m4a and webm, torchaudio resamples. A file with fewer samples than its header states is refused: half of an
utterance with the whole transcript would be a wrong training example.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from speechxfer.data.audio_io import (
    MIN_CONTAINER_SHARE,
    MIN_MP3_SHARE,
    check_flac_end,
    format_decoder_error,
    get_container_duration,
    make_damaged_error,
    make_no_samples_error,
    make_not_finite_error,
    name_source,
    needs_av,
    open_av_container,
    open_sound_file,
    read_head,
    resolve_span,
)
from speechxfer.errors import MissingExtraError, UserError, explain_torchaudio_mismatch
from speechxfer.shapes import SAMPLE_RATE

try:
    from torchaudio.functional import resample
except Exception as error:  # OSError, ImportError or RuntimeError, depending on which library fails
    raise explain_torchaudio_mismatch(error) from error

_SILENT_PEAK = 10 ** (-60 / 20)  # of full scale


def decode_audio(
    source: str | Path | bytes, rate: int = SAMPLE_RATE, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Decode a file, or the bytes of a file, to (time,) float32 mono (mean of the channels) at `rate` Hz.

    start, end: the span to read, in seconds of the file (default: the whole file).
    Raises: UserError naming the file if it is missing, empty, truncated or not audio, or if the span exceeds it;
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
    """Decode without mixing or resampling: (time, channels) float32 and the sampling rate in Hz.

    Raises: the same errors as `decode_audio`.
    """
    where = name_source(source)
    head = read_head(source)
    if needs_av(head):
        samples, rate = _decode_with_av(source)
        first, last = resolve_span(len(samples) / rate, start, end, where)
        return samples[round(first * rate) : round(last * rate)], rate
    with open_sound_file(source, head) as file:
        first, last = resolve_span(file.frames / file.samplerate, start, end, where)
        skip, count = round(first * file.samplerate), round(last * file.samplerate) - round(first * file.samplerate)
        exact = file.format != "MP3"  # libsndfile seeks to the wrong place in MP3
        try:
            if skip and exact:
                file.seek(skip)
            samples = file.read(count if exact else skip + count, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise make_damaged_error(where, format_decoder_error(error)) from None
        if not exact:
            samples = samples[skip:]
        if len(samples) < count * (1 if exact else MIN_MP3_SHARE):
            raise make_damaged_error(where, f"ends after {len(samples)} of {count} samples")
        if not np.isfinite(samples).all():
            raise make_not_finite_error(where)
        return samples, file.samplerate


def load_waveform(row: Mapping[str, Any]) -> np.ndarray:
    """Decode the utterance of a Dataset row (`path` or embedded `bytes`; `start`, `end`): (time,) float32 at 16 kHz.

    Raises: UserError naming the row's audio.
    """
    try:
        return decode_audio(get_audio_source(row), SAMPLE_RATE, row.get("start"), row.get("end"))
    except UserError as error:
        raise name_row_in_error(error, row) from None


def measure_duration(row: Mapping[str, Any]) -> float:
    """Return the duration of a row's utterance in seconds, from the header (m4a and webm are decoded).

    Raises: UserError naming the row's audio if the header shows that it cannot be used.
    """
    try:
        return _measure_span(get_audio_source(row), row.get("start"), row.get("end"))
    except UserError as error:
        raise name_row_in_error(error, row) from None


def is_silent(samples: np.ndarray) -> bool:
    """Whether no sample reaches -60 dBFS, which no recorded speech stays below (mostly a muted microphone)."""
    return bool(np.abs(samples).max(initial=0.0) < _SILENT_PEAK)


def get_audio_source(row: Mapping[str, Any]) -> str | bytes:
    """Return the source of a row for `decode_audio`: its embedded bytes, or its path."""
    return row["bytes"] if row.get("bytes") is not None else row["path"]


def name_row_in_error(error: UserError, row: Mapping[str, Any]) -> UserError:
    """Return the same error under the name that the table gives the audio; a missing package is named in the text."""
    if isinstance(error, MissingExtraError):
        problem = f"needs the package '{error.package}', which is not installed: {error.fix}"
        return UserError(problem, where=str(row.get("audio") or row.get("id")))
    return UserError(error.problem, where=str(row.get("audio") or row.get("id") or error.where), fix=error.fix)


def _measure_span(source: str | bytes, start: float | None, end: float | None) -> float:
    head = read_head(source)
    if needs_av(head):
        samples, rate = _decode_with_av(source)
        length = len(samples) / rate
    else:
        with open_sound_file(source, head) as file:
            if file.format == "FLAC":
                check_flac_end(file, source)
            length = file.frames / file.samplerate
    first, last = resolve_span(length, start, end, name_source(source))
    return last - first


def _decode_with_av(source: str | Path | bytes) -> tuple[np.ndarray, int]:
    """Decode a container: (time, channels) float32 and the rate in Hz."""
    where = name_source(source)
    container = open_av_container(source)
    import av

    try:
        with container:
            stream = container.streams.audio[0]
            rate, pieces = int(stream.rate or 0), []
            resampler = av.AudioResampler(format="fltp", rate=rate)
            for frame in container.decode(stream):
                pieces += [piece.to_ndarray().T for piece in resampler.resample(frame)]
            pieces += [piece.to_ndarray().T for piece in resampler.resample(None)]
            stated = get_container_duration(container)
    except (av.FFmpegError, ValueError) as error:
        raise make_damaged_error(where, getattr(error, "strerror", None) or str(error)) from None
    if not pieces or not rate:
        raise make_no_samples_error(where)
    samples = np.concatenate(pieces).astype(np.float32)
    if len(samples) / rate < MIN_CONTAINER_SHARE * stated - 0.1:
        raise make_damaged_error(where, f"{len(samples) / rate:.2f} of {stated:.2f} s")
    return samples, rate
