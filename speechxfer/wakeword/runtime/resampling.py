"""Streaming resampling to 16 kHz with libsoxr, whose memory and time do not depend on the ratio of the rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from speechxfer.wakeword.runtime.errors import DetectorError, MissingDetectorExtraError
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

MIN_RATE, MAX_RATE = 4_000, 192_000  # Hz, of audio that a client or a pipe declares


class Resampler:
    """Streaming resampler; the output does not depend on how the stream is split into blocks.

    source, target: sampling rates in Hz.
    Raises: MissingDetectorExtraError without soxr, unless the rates are equal.
    """

    def __init__(self, source: int, target: int = SAMPLE_RATE) -> None:
        self._stream = None if source == target else _open_stream(source, target)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take the next (time,) float samples at the source rate and return the completed ones at the target rate."""
        block = np.ascontiguousarray(samples, np.float32)
        return block if self._stream is None else self._stream.resample_chunk(block)

    def flush(self) -> np.ndarray:
        """Return the samples that are still in the filter when the stream has ended."""
        nothing = np.zeros(0, np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


def check_rate(rate: int, where: str | None = None, most: int = MAX_RATE) -> None:
    """Raise DetectorError if a sampling rate in Hz is not between `MIN_RATE` and `most`."""
    if not MIN_RATE <= rate <= most:
        problem = f"the sampling rate is {rate:,} Hz, it can be {MIN_RATE:,} to {most:,} Hz"
        raise DetectorError(problem, where=where, fix=f"send {SAMPLE_RATE:,} Hz")


def _open_stream(source: int, target: int) -> Any:
    try:
        from soxr import ResampleStream
    except ImportError:
        raise MissingDetectorExtraError("soxr", f"audio that is not at {SAMPLE_RATE:,} Hz") from None
    return ResampleStream(source, target, 1, dtype="float32", quality="HQ")
