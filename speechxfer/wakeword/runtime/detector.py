"""Run a trained detector: blocks of samples to scores and events. Needs onnxruntime, not torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.wakeword.runtime.errors import DetectorError, MissingDetectorExtraError
from speechxfer.wakeword.runtime.events import Event, EventFinder, Scores, Trigger
from speechxfer.wakeword.runtime.features import HOP_SAMPLES, NUM_MELS, SAMPLE_RATE, WINDOW_SAMPLES, LogMel

DETECTOR_MANIFEST_FILE, DETECTOR_ONNX_FILE, DETECTOR_WEIGHTS_FILE = "manifest.json", "model.onnx", "model.safetensors"
DETECTOR_FORMAT = "speechxfer.wakeword/1"
_TRIGGER_RANGES = {"threshold": (0.0, 2.0), "smoothing": (1, 1000), "refractory": (0.0, 3600.0)}
_MAX_STRIDE = 100  # frames for each score
_MAX_STATE_VALUES = 10_000_000
_CHUNK_SAMPLES = 10 * SAMPLE_RATE  # longer blocks are split to limit memory


@dataclass(frozen=True)
class DetectorArtifact:
    """A detector's folder. manifest: the word, training settings, calibration and results."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def word(self) -> str:
        return str(self.manifest["word"])

    @property
    def trigger(self) -> Trigger:
        """The calibrated trigger."""
        calibration = self.manifest["calibration"]
        return Trigger(float(calibration["threshold"]), int(calibration["smoothing"]), float(calibration["refractory"]))


def open_artifact(folder: Path | str) -> DetectorArtifact:
    """Read a detector's folder.

    Raises: DetectorError if it is not a detector, or is of a format that this version does not read.
    """
    path = Path(folder)
    fix = "give the folder that `speechxfer wakeword train` wrote"
    if not path.is_dir():
        raise DetectorError("no such folder", where=str(folder), fix=fix)
    missing = [name for name in (DETECTOR_MANIFEST_FILE, DETECTOR_ONNX_FILE) if not (path / name).is_file()]
    if missing:
        raise DetectorError(f"not a wake-word detector: {' and '.join(missing)} missing", where=str(folder), fix=fix)
    try:
        manifest = json.loads((path / DETECTOR_MANIFEST_FILE).read_text(encoding="utf-8"))
        artifact = DetectorArtifact(path, manifest)
        if manifest["format"] != DETECTOR_FORMAT:
            raise DetectorError(
                f"unsupported format {manifest['format']}, this version reads {DETECTOR_FORMAT}", where=str(folder)
            )
        _validate_trigger(artifact.trigger)
        _ = artifact.word
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DetectorError(f"invalid {DETECTOR_MANIFEST_FILE} ({error!r})", where=str(folder), fix=fix) from None
    return artifact


def _validate_trigger(trigger: Trigger) -> None:
    """Raise ValueError for values with which a detector never detects, or always, or takes all memory."""
    for name, (least, most) in _TRIGGER_RANGES.items():
        value = getattr(trigger, name)
        if not least <= value <= most:  # NaN is in no range
            raise ValueError(f"calibration.{name} is {value}, it can be {least:g} to {most:g}")


class Scorer:
    """Streaming scores of a detector's ONNX model: blocks of any size give the same scores as the whole stream.

    model: path or content of model.onnx. threads: of onnxruntime. The state between blocks covers less than 2 s.
    Raises: MissingDetectorExtraError without onnxruntime; DetectorError if the model cannot be loaded.
    """

    def __init__(self, model: Path | str | bytes, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingDetectorExtraError("onnxruntime", "running a detector") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base class
            reason = str(error).splitlines()[0]
            raise DetectorError(f"not a usable ONNX model ({reason})", where=str(model)[:200]) from None
        try:
            self._stride, shapes = _read_layout(self._session)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"an ONNX model, but not a detector's ({error})"
            raise DetectorError(problem, where=str(model)[:200], fix="train it again") from None
        self._names, self._zeros = list(shapes), [np.zeros(shape, np.float32) for shape in shapes.values()]
        self._outputs = ["scores", *(f"next_{name}" for name in self._names)]
        self.step = self._stride * HOP_SAMPLES / SAMPLE_RATE
        self.first = (WINDOW_SAMPLES + (self._stride - 1) * HOP_SAMPLES) / SAMPLE_RATE
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._mel, self._frames, self._states = LogMel(), np.zeros((0, NUM_MELS), np.float32), self._zeros
        self._num_scores = 0

    def push(self, samples: np.ndarray) -> Scores:
        """Take the next (time,) samples at 16 kHz, float within ±1 or int16, and return the scores completed."""
        first = self.first + self.step * self._num_scores
        scores = [self._score_chunk(chunk) for chunk in _split_chunks(to_float_samples(samples))]
        values = np.concatenate(scores) if scores else np.zeros(0)
        self._num_scores += len(values)
        return Scores(values, self.step, first)

    def _score_chunk(self, samples: np.ndarray) -> np.ndarray:
        frames = np.concatenate([self._frames, self._mel.push(samples)])
        whole = len(frames) - len(frames) % self._stride
        self._frames = frames[whole:]
        if not whole:
            return np.zeros(0)
        inputs = {"log_mel": frames[None, :whole], **dict(zip(self._names, self._states, strict=True))}
        scores, *self._states = self._session.run(self._outputs, inputs)
        return scores


def _read_layout(session: Any) -> tuple[int, dict[str, list[int]]]:
    """Return the number of frames for each score, and the shape of each state.

    Raises:
        KeyError, TypeError, ValueError: if the model's inputs, outputs or metadata are not a detector's.
    """
    inputs, outputs = (
        {value.name: value.shape for value in values} for values in (session.get_inputs(), session.get_outputs())
    )
    shapes = {name: shape for name, shape in inputs.items() if name != "log_mel"}
    missing = {"scores", *(f"next_{name}" for name in shapes)} - set(outputs)
    if "log_mel" not in inputs or missing:
        raise ValueError(f"it has no {'log_mel' if 'log_mel' not in inputs else ', '.join(sorted(missing))}")
    stride = session.get_modelmeta().custom_metadata_map.get("frames_a_score", "")
    if not (stride.isdecimal() and 1 <= int(stride[:9]) <= _MAX_STRIDE):
        raise ValueError(f"frames_a_score is {stride[:20]!r}")
    for name, shape in shapes.items():
        if not all(isinstance(size, int) and size > 0 for size in shape) or math.prod(shape) > _MAX_STATE_VALUES:
            raise ValueError(f"its state {name} has the shape {shape}")
    return int(stride), shapes


class Detector:
    """Streaming detection of a word: `for event in detector.push(samples)`.

    folder: of the detector, or its artifact. trigger: (default: the calibrated one). threads: of onnxruntime.
    Raises: what `open_artifact` and `Scorer` raise.
    """

    def __init__(
        self, folder: Path | str | DetectorArtifact, *, trigger: Trigger | None = None, threads: int = 1
    ) -> None:
        self.artifact = folder if isinstance(folder, DetectorArtifact) else open_artifact(folder)
        self.trigger = trigger or self.artifact.trigger
        self.scorer = Scorer(self.artifact.folder / DETECTOR_ONNX_FILE, threads=threads)
        self._finder = EventFinder(self.trigger)
        self.score = 0.0  # highest score of the last block

    def reset(self) -> None:
        """Start a new stream at time 0."""
        self.scorer.reset()
        self._finder = EventFinder(self.trigger)

    def push(self, samples: np.ndarray) -> list[Event]:
        """Take the next samples at 16 kHz, float within ±1 or int16, and return the events in them."""
        scores = self.scorer.push(samples)
        if len(scores.values):
            self.score = float(scores.values.max())
        return self._finder.push(scores)


def to_float_samples(samples: np.ndarray) -> np.ndarray:
    """Convert (time,) samples to float32 within ±1; NaN and infinity become 0."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32_768
    converted = np.asarray(samples, np.float32)
    return converted if np.isfinite(converted).all() else np.nan_to_num(converted, nan=0.0, posinf=0.0, neginf=0.0)


def replace_threshold(trigger: Trigger, threshold: float | None) -> Trigger:
    """Return `trigger` with another threshold, or as it is if None."""
    return trigger if threshold is None else replace(trigger, threshold=threshold)


def _split_chunks(samples: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), _CHUNK_SAMPLES):
        yield samples[start : start + _CHUNK_SAMPLES]
