"""Resampling with soxr: time and memory depend on the length of the audio, not on the ratio of the rates.

A polyphase kernel grows with rate / gcd(rate, target): for 44,101 Hz it has 16,000 phases of over 200,000 taps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

_QUALITY = "HQ"  # 20 bits; the passband ends at 0.91 of the lower Nyquist frequency


def resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Resample (time,) float32 from `rate` to `target` Hz: (ceil(time * target / rate),) float32.

    The rates may be the terms of any ratio. Equal rates return the same array.
    """
    if rate == target:
        return samples
    return np.concatenate([np.empty(0, np.float32), *resample_blocks([samples], rate, target)])


def resample_blocks(blocks: Iterable[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """Resample a stream of (time,) float32 blocks; the output does not depend on how the stream is split."""
    if rate == target:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, target, 1, dtype="float32", quality=_QUALITY)
    taken = given = 0
    for block in blocks:
        taken += len(block)
        resampled = stream.resample_chunk(np.ascontiguousarray(block))
        given += len(resampled)
        if len(resampled):
            yield resampled
    missing = -(-taken * target // rate) - given
    # soxr rounds the length; as many zeros as one output sample takes complete the last one
    rest = stream.resample_chunk(np.zeros(-(-rate // target) + 1 if taken else 0, np.float32), last=True)[:missing]
    yield np.pad(rest, (0, missing - len(rest)))
