"""A trained detector at work: samples in pieces of any size become scores and events. Needs onnxruntime, no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.errors import MissingExtraError, UserError
from speechxfer.wakeword.runtime.events import Event, EventFinder, Scores, Trigger
from speechxfer.wakeword.runtime.features import HOP_SAMPLES, NUM_MELS, SAMPLE_RATE, WINDOW_SAMPLES, LogMel

DETECTOR_MANIFEST_FILE, DETECTOR_ONNX_FILE, DETECTOR_WEIGHTS_FILE = "manifest.json", "model.onnx", "model.safetensors"
DETECTOR_FORMAT = "speechxfer.wakeword/1"
_AT_ONCE = 10 * SAMPLE_RATE  # samples: a longer piece is cut, so that memory is bounded


@dataclass(frozen=True)
class DetectorArtifact:
    """What a detector's folder holds. manifest: the word, how it was made, its calibration and figures."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def word(self) -> str:
        return str(self.manifest["word"])

    @property
    def trigger(self) -> Trigger:
        stored = self.manifest["calibration"]
        return Trigger(float(stored["threshold"]), int(stored["smoothing"]), float(stored["refractory"]))


def open_artifact(folder: Path | str) -> DetectorArtifact:
    """Read a detector's folder. Raises UserError for one that is none, or that a newer version wrote."""
    place = Path(folder)
    fix = "give the folder that `speechxfer wakeword train` wrote"
    if not place.is_dir():
        raise UserError("no such folder", where=str(folder), fix=fix)
    missing = [name for name in (DETECTOR_MANIFEST_FILE, DETECTOR_ONNX_FILE) if not (place / name).is_file()]
    if missing:
        raise UserError(f"is no wake-word detector: it lacks {' and '.join(missing)}", where=str(folder), fix=fix)
    try:
        manifest = json.loads((place / DETECTOR_MANIFEST_FILE).read_text(encoding="utf-8"))
        found = DetectorArtifact(place, manifest)
        if manifest["format"] != DETECTOR_FORMAT:
            raise UserError(
                f"has the format {manifest['format']}, this version reads {DETECTOR_FORMAT}", where=str(folder)
            )
        _ = found.word, found.trigger
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{DETECTOR_MANIFEST_FILE} cannot be used ({error!r})", where=str(folder), fix=fix) from None
    return found


class Scorer:
    """Scores of a stream that comes in pieces: the same whatever the pieces. Holds under 2 s of state."""

    def __init__(self, model: Path | str | bytes, *, threads: int = 1) -> None:
        """model: the path of model.onnx, or its bytes. Raises MissingExtraError without onnxruntime."""
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("onnxruntime", "wakeword", "running a detector") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has no common ancestor for its errors
            words = str(error).splitlines()[0]
            raise UserError(f"is no ONNX model that can be run ({words})", where=str(model)[:200]) from None
        self._names = [value.name for value in self._session.get_inputs() if value.name != "log_mel"]
        self._zeros = [np.zeros(v.shape, np.float32) for v in self._session.get_inputs() if v.name != "log_mel"]
        self._outputs = ["scores", *(f"next_{name}" for name in self._names)]
        self._stride = int(self._session.get_modelmeta().custom_metadata_map["frames_a_score"])
        self.step = self._stride * HOP_SAMPLES / SAMPLE_RATE
        self.first = (WINDOW_SAMPLES + (self._stride - 1) * HOP_SAMPLES) / SAMPLE_RATE
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._mel, self._frames, self._states = LogMel(), np.zeros((0, NUM_MELS), np.float32), self._zeros
        self._steps = 0

    def push(self, samples: np.ndarray) -> Scores:
        """The next (time,) samples at 16 kHz, float within ±1 or int16: the scores that they complete."""
        first = self.first + self.step * self._steps
        found = [self._score(piece) for piece in _pieces(to_float_samples(samples))]
        values = np.concatenate(found) if found else np.zeros(0)
        self._steps += len(values)
        return Scores(values, self.step, first)

    def _score(self, samples: np.ndarray) -> np.ndarray:
        frames = np.concatenate([self._frames, self._mel.push(samples)])
        whole = len(frames) - len(frames) % self._stride
        self._frames = frames[whole:]
        if not whole:
            return np.zeros(0)
        inputs = {"log_mel": frames[None, :whole], **dict(zip(self._names, self._states, strict=True))}
        scores, *self._states = self._session.run(self._outputs, inputs)
        return scores


class Detector:
    """A word's events in a stream: `for event in detector.push(samples)`.

    Raises what `open_artifact` and `Scorer` raise.
    """

    def __init__(
        self, folder: Path | str | DetectorArtifact, *, trigger: Trigger | None = None, threads: int = 1
    ) -> None:
        self.artifact = folder if isinstance(folder, DetectorArtifact) else open_artifact(folder)
        self.trigger = trigger or self.artifact.trigger
        self.scorer = Scorer(self.artifact.folder / DETECTOR_ONNX_FILE, threads=threads)
        self._finder = EventFinder(self.trigger)
        self.score = 0.0  # the highest of the last piece

    def reset(self) -> None:
        """Begin a new stream; its time starts at 0."""
        self.scorer.reset()
        self._finder = EventFinder(self.trigger)

    def push(self, samples: np.ndarray) -> list[Event]:
        """The next samples at 16 kHz, float within ±1 or int16: the events in them, in seconds of the stream."""
        scores = self.scorer.push(samples)
        if len(scores.values):
            self.score = float(scores.values.max())
        return self._finder.push(scores)


def to_float_samples(samples: np.ndarray) -> np.ndarray:
    """(time,) samples as float32 within ±1; what is no number is silence."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32_768
    found = np.asarray(samples, np.float32)
    return found if np.isfinite(found).all() else np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


def replace_threshold(trigger: Trigger, threshold: float | None) -> Trigger:
    """`trigger` with another threshold, if one is given."""
    return trigger if threshold is None else replace(trigger, threshold=threshold)


def _pieces(samples: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), _AT_ONCE):
        yield samples[start : start + _AT_ONCE]
