"""Blocks of a microphone's audio, by PortAudio."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from speechxfer.wakeword.runtime.audio_sources import (
    BLOCK_SECONDS,
    MAX_CHANNELS,
    AudioBlock,
    check_channels,
    select_channel,
)
from speechxfer.wakeword.runtime.detector import to_float_samples
from speechxfer.wakeword.runtime.errors import DetectorError, MissingDetectorExtraError
from speechxfer.wakeword.runtime.resampling import Resampler

_QUEUE_SECONDS = 10.0  # s of audio that may be queued; anything later is dropped and counted
_TIMEOUT_SECONDS = 5.0  # s without a block after which the microphone is considered disconnected


def read_microphone_blocks(
    device: str | int | None = None, channel: int | None = None, backend: Any = None
) -> Iterator[AudioBlock]:
    """Yield the blocks of a microphone. Audio dropped by the driver or by a full queue is reported as `lost`.

    device: number or part of the name (default: the system's default input). channel: number of the channel to use,
    from 1 (default: one channel if the device opens with one, else the mean of all). backend: replaces sounddevice.
    Raises: MissingDetectorExtraError without sounddevice; DetectorError without PortAudio or a microphone, or if the
    microphone stops delivering audio.
    """
    backend = backend or _import_sounddevice()
    where = "microphone" if device is None else str(device)
    blocks: queue.Queue[tuple[np.ndarray, bool]] = queue.Queue(maxsize=round(_QUEUE_SECONDS / BLOCK_SECONDS))
    dropped = 0  # frames dropped because the queue was full; only the callback writes it

    def enqueue(samples: Any, frames: int, _time: Any, status: Any) -> None:
        nonlocal dropped
        block = np.frombuffer(bytes(samples), np.int16).copy()
        try:
            blocks.put_nowait((block, bool(getattr(status, "input_overflow", False))))
        except queue.Full:
            dropped += frames

    rate, channels, stream = _open_microphone(backend, device, channel, where, enqueue)
    resampler, reported = Resampler(rate), 0
    with stream:
        while True:
            try:
                block, overflow = blocks.get(timeout=_TIMEOUT_SECONDS)
            except queue.Empty:
                problem = f"the microphone delivered no audio for {_TIMEOUT_SECONDS:g} s"
                raise DetectorError(problem, where=where, fix="reconnect it") from None
            samples = to_float_samples(block).reshape(-1, channels)
            lost = dropped - reported
            reported += lost
            if overflow:
                lost += len(samples)  # the driver does not report how much it dropped: about one block
            yield AudioBlock(resampler.push(select_channel(samples, channel)), lost / rate, rate)


def _open_microphone(
    backend: Any, device: str | int | None, channel: int | None, where: str, callback: Callable[..., None]
) -> tuple[int, int, Any]:
    """Return the rate, the number of channels and the stream of a microphone.

    Some devices open only with all their channels, so these are tried after as few as are needed.
    """
    try:
        found = backend.query_devices(device, "input")
        rate, most = int(found["default_samplerate"]), int(found.get("max_input_channels", 1))
    except Exception as error:  # PortAudioError and ValueError have no common base class
        raise _explain_failure(backend, error, where) from None
    check_channels(min(most, MAX_CHANNELS), channel, where)
    failure: Exception | None = None
    for channels in dict.fromkeys((channel or 1, most)):
        try:
            stream = backend.RawInputStream(
                samplerate=rate,
                blocksize=round(BLOCK_SECONDS * rate),
                device=device,
                channels=channels,
                dtype="int16",
                callback=callback,
            )
            return rate, channels, stream
        except Exception as error:
            failure = failure or error
    assert failure is not None
    raise _explain_failure(backend, failure, where, str(found.get("name", "")))


def _explain_failure(backend: Any, error: Exception, where: str, tried: str = "") -> DetectorError:
    names = ", ".join(name for name in _list_microphones(backend) if name != tried)
    fix = f"select one with --microphone: {names}" if names else "connect one, or give a file"
    return DetectorError(f"no microphone can be opened ({error})", where=where, fix=fix)


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise MissingDetectorExtraError("sounddevice", "listening to a microphone") from None
    except OSError as error:
        fix = "apt install libportaudio2 (or your system's PortAudio)"
        raise DetectorError(f"sounddevice cannot be used ({error})", where="microphone", fix=fix) from None
    return sounddevice


def _list_microphones(backend: Any) -> list[str]:
    """Return the names of the input devices, at most eight."""
    try:
        return [str(device["name"]) for device in backend.query_devices() if device["max_input_channels"] > 0][:8]
    except Exception:
        return []
