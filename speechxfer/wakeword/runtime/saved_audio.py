"""Save the audio in which a word was detected, to listen to false alarms or to collect recordings."""

from __future__ import annotations

import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speechxfer.wakeword.runtime.audio_sources import AudioBlock
from speechxfer.wakeword.runtime.detector import to_float_samples
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.events import Event
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

SAVED_SECONDS = 4.0  # s before a detection


class AudioSaver:
    """Keeps the last `SAVED_SECONDS` of a stream, and writes them to a new file of `folder` when asked.

    Raises: DetectorError if the folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last = np.zeros(0, np.float32)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DetectorError(f"cannot be created ({error.strerror or error})", where=str(folder)) from None

    def reset(self) -> None:
        """Start a new stream."""
        self._last = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> None:
        """Take the next (time,) samples at 16 kHz."""
        joined = np.concatenate([self._last, to_float_samples(samples)])
        self._last = joined[-round(SAVED_SECONDS * SAMPLE_RATE) :]

    def follow(self, blocks: Iterator[AudioBlock]) -> Iterator[AudioBlock]:
        """Yield the blocks, and take their samples."""
        for block in blocks:
            self.push(block.samples)
            yield block

    def save(self, event: Event) -> Path:
        """Write 16-bit WAV, named after the date, the time and the score; return its path. No file is replaced.

        Raises: DetectorError if it cannot be written.
        """
        pcm = (np.clip(self._last, -1, 1) * 32_767).astype("<i2").tobytes()
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-score-{event.score:.3f}"
        try:
            path = self._create_file(stem)
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
                file.writeframes(pcm)
        except OSError as error:
            raise DetectorError(f"cannot be written ({error.strerror or error})", where=str(self.folder)) from None
        return path

    def _create_file(self, stem: str) -> Path:
        """Create an empty file with a name that is free."""
        number = 1
        while True:
            path = self.folder / (f"{stem}.wav" if number == 1 else f"{stem}-{number}.wav")
            try:
                path.touch(exist_ok=False)
                return path
            except FileExistsError:
                number += 1
