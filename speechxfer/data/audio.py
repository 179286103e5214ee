"""Audio of utterances: decoded to 16 kHz mono, or measured, always through the reader in `audio_stream`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechxfer.data.audio_io import Source
from speechxfer.data.audio_stream import measure_seconds, open_audio
from speechxfer.data.paths import decode_path
from speechxfer.data.resampling import resample_blocks
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.shapes import SAMPLE_RATE

_FULL_SCALE = 0.999
_SILENT_PEAK = 10 ** (-60 / 20)  # of full scale


@dataclass(frozen=True, slots=True)
class AudioMeasurements:
    """Measurements of an utterance's samples, of all channels at the file's own rate.

    peak: of full scale. clipped: share of samples at full scale. content: digest of the samples.
    """

    seconds: float
    peak: float
    clipped: float
    content: bytes

    @property
    def is_silent(self) -> bool:
        """Whether no sample reaches -60 dBFS, which no recorded speech stays below (mostly a muted microphone)."""
        return self.peak < _SILENT_PEAK


def decode_audio(
    source: Source, rate: int = SAMPLE_RATE, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Decode a file, or the bytes of a file, to (time,) float32 mono (mean of the channels) at `rate` Hz.

    start, end: the span to read, in seconds of the file (default: the whole file).
    Raises: the errors of `audio_stream.open_audio`.
    """
    return np.concatenate([np.empty(0, np.float32), *iter_mono_blocks(source, rate, start, end)])


def iter_mono_blocks(
    source: Source, rate: int = SAMPLE_RATE, start: float | None = None, end: float | None = None
) -> Iterator[np.ndarray]:
    """Yield the samples of `decode_audio` in blocks, in constant memory."""
    stream = open_audio(source, start, end)
    yield from resample_blocks(stream.iter_mono(), stream.rate, rate)


def load_waveform(row: Mapping[str, Any]) -> np.ndarray:
    """Decode the utterance of a Dataset row (`path` or embedded `bytes`; `start`, `end`): (time,) float32 at 16 kHz.

    Raises: UserError naming the row's audio.
    """
    try:
        return decode_audio(get_audio_source(row), SAMPLE_RATE, row.get("start"), row.get("end"))
    except UserError as error:
        raise name_row_in_error(error, row) from None


def measure_audio(row: Mapping[str, Any]) -> AudioMeasurements:
    """Decode a row's utterance in constant memory and measure it. Raises: UserError naming the row's audio."""
    digest = hashlib.blake2b(digest_size=16)
    length = values = clipped = 0
    peak = 0.0
    try:
        stream = open_audio(get_audio_source(row), row.get("start"), row.get("end"))
        for block in stream.blocks:
            magnitudes = np.abs(block)
            peak = max(peak, float(magnitudes.max()))
            clipped += int((magnitudes >= _FULL_SCALE).sum())
            length, values = length + len(block), values + block.size
            digest.update(np.ascontiguousarray(block).data)
    except UserError as error:
        raise name_row_in_error(error, row) from None
    return AudioMeasurements(length / stream.rate, peak, clipped / max(1, values), digest.digest())


def measure_duration(row: Mapping[str, Any]) -> float:
    """Return the duration of a row's utterance in seconds, without decoding it where its header can be trusted.

    Raises: UserError naming the row's audio if it cannot be used.
    """
    try:
        return measure_seconds(get_audio_source(row), row.get("start"), row.get("end"))
    except UserError as error:
        raise name_row_in_error(error, row) from None


def is_silent(samples: np.ndarray) -> bool:
    """Whether no sample reaches -60 dBFS (see `AudioMeasurements.is_silent`)."""
    return bool(np.abs(samples).max(initial=0.0) < _SILENT_PEAK)


def get_audio_source(row: Mapping[str, Any]) -> str | bytes:
    """Return the source of a row for `decode_audio`: its embedded bytes, or its path."""
    return row["bytes"] if row.get("bytes") is not None else decode_path(row["path"])


def name_row_in_error(error: UserError, row: Mapping[str, Any]) -> UserError:
    """Return the same error under the name that the table gives the audio; a missing package is named in the text."""
    if isinstance(error, MissingExtraError):
        problem = f"needs the package '{error.package}', which is not installed: {error.fix}"
        return UserError(problem, where=str(row.get("audio") or row.get("id")))
    return UserError(error.problem, where=str(row.get("audio") or row.get("id") or error.where), fix=error.fix)
