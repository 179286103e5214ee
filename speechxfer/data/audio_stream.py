"""The reader of all audio, short or long: it decodes block by block, and refuses what is damaged.

Every command reads audio through `open_audio`, so all of them accept and refuse the same files. A file with fewer
samples than its header states is refused: half of an utterance with the whole transcript would be a wrong training
example. Memory: one block, besides what the caller keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechxfer.data import mp3
from speechxfer.data.audio_errors import (
    format_decoder_error,
    make_damaged_error,
    make_level_error,
    make_no_samples_error,
    make_not_finite_error,
    name_source,
)
from speechxfer.data.audio_io import (
    Source,
    check_sampling_rate,
    get_container_duration,
    needs_av,
    open_av_container,
    open_sound_file,
    read_head,
    resolve_span,
    split_joined_files,
)
from speechxfer.data.decoder_messages import discard_decoder_messages

MAX_LEVEL = 1000.0  # of full scale (60 dB above): what exceeds it is damaged, or integers stored as floats
MIN_CONTAINER_SHARE = 0.95  # of a container's stated duration, which includes samples that decoders skip
_BLOCK_VALUES = 262_144  # samples of all channels that are decoded at once
_MAX_UNKNOWN_FRAMES = 2**36 - 1  # in FLAC's header: the length is not stated


@dataclass(frozen=True)
class AudioStream:
    """An opened span of a file. rate: in Hz. blocks: (time, channels) float32 each, to be read once."""

    rate: int
    blocks: Iterator[np.ndarray]

    def iter_mono(self) -> Iterator[np.ndarray]:
        """Yield the mean of the channels: (time,) float32."""
        for block in self.blocks:
            yield block.mean(axis=1, dtype=np.float32)


@dataclass(frozen=True)
class _Decoder:
    """A decoder of a whole file. frames: its length, None if only decoding tells; min_share: of it must be decoded.

    decode: returns the position where it starts, at or before the given one, and the blocks from there to the end.
    """

    rate: int
    frames: int | None
    decode: Callable[[int], tuple[int, Iterator[np.ndarray]]]
    min_share: float = 1.0


def open_audio(source: Source, start: float | None = None, end: float | None = None) -> AudioStream:
    """Open a file, or the bytes of a file, of any rate and number of channels.

    start, end: the span to read, in seconds of the file (default: the whole file).
    Raises: UserError naming the file if it is missing, empty, truncated, damaged or not audio, or if the span exceeds
    it; the same error while its blocks are read, for damage that only decoding shows; MissingExtraError for a container
    that needs PyAV.
    """
    decoder = _open_decoder(source)
    where = name_source(source)
    length = math.inf if decoder.frames is None else decoder.frames / decoder.rate
    first, last = resolve_span(length, start, end, where)
    stop = None if math.isinf(last) else round(last * decoder.rate)
    return AudioStream(decoder.rate, _decode_span(decoder, where, round(first * decoder.rate), stop, start, end))


def measure_seconds(source: Source, start: float | None = None, end: float | None = None) -> float:
    """Return the duration of a span in seconds; the file is decoded if its header does not state its length.

    Raises: the errors of `open_audio`.
    """
    where = name_source(source)
    if isinstance(source, bytes):
        frames, rate = _count_frames(source)
    else:
        read_head(source, 1)
        status = Path(source).stat()
        frames, rate = _count_frames_of_file(str(source), status.st_size, status.st_mtime_ns)
    first, last = resolve_span(frames / rate, start, end, where)
    return last - first


@lru_cache(maxsize=100_000)
def _count_frames_of_file(path: str, _size: int, _mtime_ns: int) -> tuple[int, int]:
    """Return the samples of one channel and the rate; once for each file, as long as it is not changed."""
    return _count_frames(path)


def _count_frames(source: Source) -> tuple[int, int]:
    decoder = _open_decoder(source)
    if decoder.frames is not None:
        return decoder.frames, decoder.rate
    blocks = _decode_span(decoder, name_source(source), 0, None, None, None)
    return sum(map(len, blocks)), decoder.rate


def _decode_span(
    decoder: _Decoder, where: str, skip: int, stop: int | None, start: float | None, end: float | None
) -> Iterator[np.ndarray]:
    """Yield the blocks between the samples `skip` and `stop` (None: the end of a file of unknown length)."""
    position, blocks = decoder.decode(skip)
    for block in blocks:
        kept = block[max(0, skip - position) : None if stop is None else max(0, stop - position)]
        position += len(block)
        if len(kept):
            _check_samples(kept, where)
            yield kept
        if stop is not None and position >= stop:
            return
    if decoder.frames is None:
        if not position:
            raise make_no_samples_error(where)
        resolve_span(position / decoder.rate, start, end, where)  # the length is known only now
    elif stop is not None and position - skip < (stop - skip) * decoder.min_share:
        raise make_damaged_error(where, f"ends after {max(0, position - skip)} of {stop - skip} samples")


def _check_samples(block: np.ndarray, where: str) -> None:
    """Raise UserError for samples that are not numbers, or far above full scale."""
    high, low = float(block.max()), float(block.min())
    if not (high <= MAX_LEVEL and low >= -MAX_LEVEL):  # true of NaN too
        peak = max(high, -low)
        raise make_level_error(where, peak) if math.isfinite(peak) else make_not_finite_error(where)


def _open_decoder(source: Source) -> _Decoder:
    head = read_head(source)
    if needs_av(head):
        return _open_with_av(source)
    return _open_with_soundfile(source, head)


def _open_with_soundfile(source: Source, head: bytes) -> _Decoder:
    where = name_source(source)
    parts = split_joined_files(source, head)
    file = open_sound_file(parts[0], head, where)
    min_share = mp3.MIN_SHARE if file.format == "MP3" else 1.0
    if len(parts) == 1:
        frames = None if file.frames >= _MAX_UNKNOWN_FRAMES else file.frames
        return _Decoder(file.samplerate, frames, partial(_decode_file, file, where), min_share)
    rate, channels, frames = file.samplerate, file.channels, 0
    file.close()
    for part in parts:
        with open_sound_file(part, read_head(part), where) as file:
            if (file.samplerate, file.channels) != (rate, channels):
                reason = f"{len(parts)} files of different sampling rates or channels were joined"
                raise make_damaged_error(where, reason)
            frames = None if frames is None or file.frames >= _MAX_UNKNOWN_FRAMES else frames + file.frames
    return _Decoder(rate, frames, partial(_decode_parts, parts, where), min_share)


def _decode_file(file: soundfile.SoundFile, where: str, skip: int) -> tuple[int, Iterator[np.ndarray]]:
    """Decode from `skip` on, from the start if libsndfile cannot find the sample (MP3, or an unknown length)."""
    can_seek = file.format != "MP3" and file.frames < _MAX_UNKNOWN_FRAMES
    if skip and can_seek:
        try:
            file.seek(skip)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise make_damaged_error(where, format_decoder_error(error)) from None
    return skip if can_seek else 0, _iter_file(file, where)


def _iter_file(file: soundfile.SoundFile, where: str) -> Iterator[np.ndarray]:
    with file:
        file.seekable = lambda: False  # soundfile seeks after each block, to the wrong place in MP3
        size = max(1, _BLOCK_VALUES // file.channels)
        while True:
            try:
                with discard_decoder_messages() if file.format == "MP3" else nullcontext():
                    block = file.read(size, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise make_damaged_error(where, format_decoder_error(error)) from None
            if not len(block):
                return
            yield block


def _decode_parts(parts: list[Source], where: str, _skip: int) -> tuple[int, Iterator[np.ndarray]]:
    """Decode joined files one after the other."""

    def decode() -> Iterator[np.ndarray]:
        for part in parts:
            file = open_sound_file(part, read_head(part), where)
            expected, decoded = file.frames, 0
            for block in _iter_file(file, where):
                decoded += len(block)
                yield block
            if decoded < expected * (mp3.MIN_SHARE if file.format == "MP3" else 1) and expected < _MAX_UNKNOWN_FRAMES:
                raise make_damaged_error(where, f"ends after {decoded} of {expected} samples")

    return 0, decode()


def _open_with_av(source: Source) -> _Decoder:
    where = name_source(source)
    container = open_av_container(source)
    rate = int(container.streams.audio[0].rate or 0)
    if not rate:
        container.close()
        raise make_no_samples_error(where)
    check_sampling_rate(rate, where)
    return _Decoder(rate, None, lambda _: (0, _iter_container(container, rate, where)))


def _iter_container(container: Any, rate: int, where: str) -> Iterator[np.ndarray]:
    """Decode a container, and compare its duration with the stated one at its end."""
    import av

    decoded = 0
    stream = container.streams.audio[0]
    resampler = av.AudioResampler(format="fltp", rate=rate)
    with container:
        try:
            for frame in _iter_frames(container, stream):
                for piece in resampler.resample(frame):
                    block = piece.to_ndarray().T.astype(np.float32, copy=False)
                    decoded += len(block)
                    if len(block):
                        yield block
        except (av.FFmpegError, ValueError) as error:
            raise make_damaged_error(where, getattr(error, "strerror", None) or str(error)) from None
        stated = get_container_duration(container)
    if decoded / rate < MIN_CONTAINER_SHARE * stated - 0.1:
        raise make_damaged_error(where, f"{decoded / rate:.2f} of {stated:.2f} s")


def _iter_frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield every decoded frame, then None, which flushes the resampler."""
    yield from container.decode(stream)
    yield None
