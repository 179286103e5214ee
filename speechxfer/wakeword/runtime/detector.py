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
from speechxfer.wakeword.runtime.features import HOP_SAMPLES, SAMPLE_RATE, WINDOW_SAMPLES, LogMel

DETECTOR_MANIFEST_FILE, DETECTOR_ONNX_FILE, DETECTOR_WEIGHTS_FILE = "manifest.json", "model.onnx", "model.safetensors"
DETECTOR_FORMAT = "speechxfer.wakeword/1"
_TRIGGER_RANGES = {"threshold": (0.0, 2.0), "smoothing": (1, 1000), "refractory": (0.0, 3600.0)}
_MAX_STRIDE = 100  # frames for each score
_MAX_STATE_VALUES = 10_000_000
_CHUNK_SAMPLES = 10 * SAMPLE_RATE  # longer blocks are split to limit memory
_SILENCE_SECONDS = 2.0  # s of silence before a stream: more than the 1.8 s that a score depends on
_MAX_SAMPLE = 1e4  # 80 dB above full scale; the energy of larger samples could overflow
FLUSH_SECONDS = 1.0  # s of silence after a stream: a detection comes up to this long after its word


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


class ScoringModel:
    """A detector's ONNX model and its state after silence. Streams share it, each with its own `Scorer`.

    model: path or content of model.onnx. threads: of onnxruntime.
    Raises: MissingDetectorExtraError without onnxruntime; DetectorError if the model cannot be used.
    """

    def __init__(self, model: Path | str | bytes, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingDetectorExtraError("onnxruntime", "running a detector") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # a model that fails is reported here
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base class
            raise DetectorError(f"not a usable ONNX model ({_first_line(error)})", where=str(model)[:200]) from None
        try:
            self.stride, shapes = _read_layout(self._session)
            self._names, self._outputs = list(shapes), ["scores", *(f"next_{name}" for name in shapes)]
            self._process_silence([np.zeros(shape, np.float32) for shape in shapes.values()])
        except Exception as error:
            problem = f"an ONNX model, but not a detector's ({_first_line(error)})"
            raise DetectorError(problem, where=str(model)[:200], fix="train it again") from None
        self.step = self.stride * HOP_SAMPLES / SAMPLE_RATE

    def run(self, frames: np.ndarray, states: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Map (frames, NUM_MELS) log-mel, a multiple of `stride`, to (steps,) scores and the next states."""
        inputs = {"log_mel": frames[None], **dict(zip(self._names, states, strict=True))}
        scores, *next_states = self._session.run(self._outputs, inputs)
        return scores, next_states

    def _process_silence(self, states: list[np.ndarray]) -> None:
        """Set what a stream starts with: the states, frames and samples after silence.

        The silence is a whole number of steps long, so the scores of a stream are at the same times as without it.
        `first_number`: of the stream's first score, where 0 is the first one without silence; it is negative, since
        that score's frames are partly silence.
        Raises: ValueError if the scores or states are not those of a detector.
        """
        steps = math.ceil(_SILENCE_SECONDS * SAMPLE_RATE / (self.stride * HOP_SAMPLES))
        silence = np.zeros(steps * self.stride * HOP_SAMPLES, np.float32)
        frames = LogMel().push(silence)
        whole = len(frames) - len(frames) % self.stride
        scores, self.states = self.run(frames[:whole], states)
        if scores.shape != (whole // self.stride,) or not np.isfinite(scores).all():
            raise ValueError("its scores are not one number per step")
        if [state.shape for state in self.states] != [state.shape for state in states]:
            raise ValueError("its states change their shape")
        self.frames = frames[whole:]
        self.samples = silence[len(frames) * HOP_SAMPLES :]
        self.first_number = len(scores) - steps


class Scorer:
    """Streaming scores of a detector's ONNX model: blocks of any size give the same scores as the whole stream.

    A stream starts in the state after silence, so that a word at its very start is scored as it is after a pause. The
    state between blocks covers less than 2 s.
    model: path or content of model.onnx, or a model that other streams use as well. threads: of onnxruntime.
    Raises: what `ScoringModel` raises.
    """

    def __init__(self, model: Path | str | bytes | ScoringModel, *, threads: int = 1) -> None:
        self._model = model if isinstance(model, ScoringModel) else ScoringModel(model, threads=threads)
        self.step = self._model.step
        # s into a stream at which its first score is available
        self.first = (WINDOW_SAMPLES - HOP_SAMPLES) / SAMPLE_RATE + self.step * (1 + self._model.first_number)
        self.reset()

    def reset(self) -> None:
        """Start a new stream, as after silence."""
        self._mel, self._frames, self._states = LogMel(self._model.samples), self._model.frames, self._model.states
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
        whole = len(frames) - len(frames) % self._model.stride
        self._frames = frames[whole:]
        if not whole:
            return np.zeros(0)
        scores, self._states = self._model.run(frames[:whole], self._states)
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
    model: the folder's model, if other streams use it as well (default: it is loaded).
    Raises: what `open_artifact` and `Scorer` raise.
    """

    def __init__(
        self,
        folder: Path | str | DetectorArtifact,
        *,
        trigger: Trigger | None = None,
        threads: int = 1,
        model: ScoringModel | None = None,
    ) -> None:
        self.artifact = folder if isinstance(folder, DetectorArtifact) else open_artifact(folder)
        self.trigger = trigger or self.artifact.trigger
        self.scorer = Scorer(model or self.artifact.folder / DETECTOR_ONNX_FILE, threads=threads)
        self._finder = EventFinder(self.trigger)
        self.score = 0.0  # highest score of the last block

    def reset(self) -> None:
        """Start a new stream at time 0, as after silence."""
        self.scorer.reset()
        self._finder = EventFinder(self.trigger)

    def push(self, samples: np.ndarray) -> list[Event]:
        """Take the next samples at 16 kHz, float within ±1 or int16, and return the events in them."""
        scores = self.scorer.push(samples)
        if len(scores.values):
            self.score = float(scores.values.max())
        return self._finder.push(scores)

    def flush(self) -> list[Event]:
        """Return the events that come shortly after the end of the stream: `FLUSH_SECONDS` of silence are appended."""
        return self.push(np.zeros(round(FLUSH_SECONDS * SAMPLE_RATE), np.float32))


def to_float_samples(samples: np.ndarray) -> np.ndarray:
    """Convert (time,) samples to float32 within ±1; samples that are not finite, or absurdly large, become 0."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32_768
    converted = np.asarray(samples, np.float32)
    usable = np.abs(converted) <= _MAX_SAMPLE  # False for NaN
    return converted if usable.all() else np.where(usable, converted, np.float32(0))


def replace_threshold(trigger: Trigger, threshold: float | None) -> Trigger:
    """Return `trigger` with another threshold, or as it is if None."""
    return trigger if threshold is None else replace(trigger, threshold=threshold)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _split_chunks(samples: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), _CHUNK_SAMPLES):
        yield samples[start : start + _CHUNK_SAMPLES]
