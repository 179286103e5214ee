"""Train a detector: prepare data, train with mining, calibrate, write the folder."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from speechxfer.atomic import temporary_sibling_dir, write_text_atomically
from speechxfer.data.augment import add_babble, add_noise
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.prepare import PreparedData, RecordedClip, prepare_training_data
from speechxfer.wakeword.evaluation.metrics import SECONDS_PER_HOUR, ScoredRecording
from speechxfer.wakeword.evaluation.streams import score_clip, score_waveforms
from speechxfer.wakeword.model.onnx_graph import export_student
from speechxfer.wakeword.model.student import FIRST_SCORE_SECONDS, STEP_SECONDS, Student, StudentConfig
from speechxfer.wakeword.model.teacher import NO_TEACHER, SoftTargets, make_soft_targets
from speechxfer.wakeword.runtime.detector import (
    DETECTOR_FORMAT,
    DETECTOR_MANIFEST_FILE,
    DETECTOR_ONNX_FILE,
    DETECTOR_WEIGHTS_FILE,
    Scorer,
    open_artifact,
)
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.events import Scores
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.calibration import Calibration, calibrate
from speechxfer.wakeword.training.loop import TrainingPlan, compute_logits, compute_probabilities, train_student
from speechxfer.wakeword.training.mining import MiningLoop

CALIBRATION_SNR_DB = 10.0  # dB, of the noisy copies of held-out clips and streams
_FRAMES_PER_HOUR = 360_000


def train_detector(settings: WakeWordSettings, reporter: Reporter) -> dict[str, Any]:
    """Train a detector, write its folder and return its manifest.

    Raises: UserError for recordings that cannot be used, or an output folder that is not empty.
    """
    started = time.monotonic()
    _check_output(settings)
    _require_onnx()
    _check_teacher(settings)
    data = prepare_training_data(settings, reporter)
    _report_data(settings, data, reporter)
    mining = MiningLoop(settings, data, reporter)
    soft_targets, teacher = _make_soft_targets(settings, data, reporter)
    with reporter.progress("training") as progress:
        student = train_student(
            data.mixer,
            _make_plan(settings),
            config=StudentConfig(width=settings.width),
            progress=progress,
            on_round=mining,
            soft_targets=soft_targets,
        )
    graph = export_student(student)
    scorer = Scorer(graph)
    held_out = mining.drop_contaminated(student)
    calibration = _calibrate(settings, data, held_out, mining.validation.clips, student, scorer)
    rounds = mining.to_json(scorer, calibration.trigger)
    reporter.info(_describe_mining(rounds))
    reporter.info(calibration.describe())
    manifest = {
        "format": DETECTOR_FORMAT,
        "word": settings.word,
        "made_by": {"speechxfer": metadata.version("speechxfer"), "torch": torch.__version__},
        "settings": _portable_settings(settings),
        "model": _describe_model(student, teacher),
        "data": data.sources,
        "negatives_with_the_word": [*data.contaminated, *mining.contamination.dropped],
        "negatives_that_sound_like_it": mining.contamination.unsure,
        "calibration": {**calibration.to_json(), "clips_kind": data.clips_kind},
        "mining": rounds,
        "seconds": round(time.monotonic() - started, 1),
    }
    _write_folder(settings, student, graph, manifest)
    return manifest


def add_stream_results(folder: Path, names: Sequence[str], results: Mapping[str, Any]) -> dict[str, Any]:
    """Add the results of an evaluation on streams to a detector's manifest; return the manifest."""
    copied = ("false_alarms", "hours", "false_alarms_per_hour", "intervals", "threshold", "smoothing", "refractory")
    manifest: dict[str, Any] = json.loads((folder / DETECTOR_MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["streams"] = {"names": [Path(name).name for name in names], **{name: results[name] for name in copied}}
    write_text_atomically(folder / DETECTOR_MANIFEST_FILE, _to_text(manifest))
    return manifest


def _describe_mining(mining: Mapping[str, Any]) -> str:
    """Describe the manifest's entry on mining in a sentence or two."""
    number = len(mining["rounds"])
    done = f"Hard-negative mining stopped after {number} round{'s' * (number != 1)}: {mining['stopped']}."
    if not mining["rounds"] or mining["alarms_at_the_calibrated_threshold"] is None:
        return done
    counts = ", ".join(str(entry["alarms"]) for entry in mining["rounds"])
    return f"{done} False alarms on {mining['hours']:.2f} h of unseen speech per round: {counts}."


def _check_teacher(settings: WakeWordSettings) -> None:
    """Raise UserError for an unknown teacher before any work."""
    if settings.teacher != NO_TEACHER:
        from speechxfer.encoders.checkpoints import resolve_transformers_dir

        resolve_transformers_dir(settings.teacher)


def _report_data(settings: WakeWordSettings, data: PreparedData, reporter: Reporter) -> None:
    number = len(data.contaminated)
    if number:
        reporter.info(
            f"Ignored {number} negative{'s' * (number != 1)} labelled as the wake word "
            f"(listed in {DETECTOR_MANIFEST_FILE}, negatives_with_the_word)"
        )
    mixer = data.mixer
    reporter.info(
        f"'{settings.word}', augmented copies included: {len(mixer.positives)} positives, "
        f"{len(mixer.near_misses)} near misses, {len(mixer.negatives) / _FRAMES_PER_HOUR:.2f} h of other speech"
    )


def _make_plan(settings: WakeWordSettings) -> TrainingPlan:
    return TrainingPlan(
        steps=settings.steps,
        batch=settings.batch,
        mining_rounds=settings.mining_rounds,
        extra_rounds=settings.extra_rounds,
        max_seconds=60 * settings.max_minutes,
        distillation_weight=settings.distillation_weight,
        seed=settings.seed,
    )


def _make_soft_targets(
    settings: WakeWordSettings, data: PreparedData, reporter: Reporter
) -> tuple[SoftTargets | None, dict[str, Any] | None]:
    """Return the teacher's soft targets and the manifest's entry on the teacher; None for both without a teacher."""
    if not data.window_pool.enabled:
        return None, None
    with reporter.progress(f"windows encoded by {settings.teacher}") as progress:
        soft_targets, facts = make_soft_targets(settings.teacher, data.window_pool, progress=progress)
    reporter.info(f"Teacher error rate on windows of unseen recordings: {100 * facts['errors']:.1f} %")
    name = Path(settings.teacher).name
    return soft_targets, {**facts, "encoder": name, "role": "teacher", "weight": settings.distillation_weight}


def _calibrate(
    settings: WakeWordSettings,
    data: PreparedData,
    held_out: Sequence[RecordedClip],
    validation: Sequence[RecordedClip],
    student: Student,
    scorer: Scorer,
) -> Calibration:
    """Calibrate on held-out clips (clean and noisy) and streams; on validation speech it must not fire either.

    Held-out and validation speech are also mixed with noise and with babble. The training negatives alone would not be
    enough: the longer the training, the lower their scores.
    """
    rng = np.random.default_rng([settings.seed, 2])
    mixes: list[Callable[[np.ndarray], np.ndarray]] = [lambda w: w, lambda w: add_noise(w, CALIBRATION_SNR_DB, rng)]
    clips = [
        score_clip(scorer, clip.waveform, str(clip.row["id"]), mix=mix) for mix in mixes for clip in data.held_out_clips
    ]
    streams = [score_waveforms(scorer, [clip.waveform for clip in held_out], "held out")] if held_out else []
    scores = compute_probabilities(compute_logits(student, data.mixer.negatives))
    training_hours = len(scores) * STEP_SECONDS / SECONDS_PER_HOUR
    negatives = [ScoredRecording("training", Scores(scores, STEP_SECONDS, FIRST_SCORE_SECONDS), hours=training_hours)]
    if unseen := [clip.waveform for clip in (*held_out, *validation)]:
        mixes.append(partial(add_babble, voices=unseen, snr=CALIBRATION_SNR_DB, rng=rng))
        negatives += [score_waveforms(scorer, map(mix, unseen), "held out and checked by") for mix in mixes]
    return calibrate(clips, streams, negatives, settings.false_alarms_per_hour, data.kind)


def _describe_model(student: Student, teacher: dict[str, Any] | None) -> dict[str, Any]:
    """Return the manifest's entry on the model."""
    return {
        **student.config.to_json(),
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "sees_seconds": round(student.receptive_seconds, 3),
        "first_score_seconds": FIRST_SCORE_SECONDS,
        "step_seconds": STEP_SECONDS,
        "encoder": teacher,
    }


def _portable_settings(settings: WakeWordSettings) -> dict[str, Any]:
    """Return the settings without folders of this machine."""
    values = json.loads(settings.model_dump_json(exclude={"output", "overwrite"}))
    for name in ("positives", "negatives", "noise", "voices", "teacher"):
        values[name] = Path(values[name]).name if values[name] else None
    return values


_DETECTOR_FILES = {DETECTOR_MANIFEST_FILE, DETECTOR_ONNX_FILE, DETECTOR_WEIGHTS_FILE}


def _check_output(settings: WakeWordSettings) -> None:
    """Raise UserError before any work if the output folder is in use or cannot be written."""
    folder = settings.output
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file", where=str(folder), fix="choose another folder with --output")
    if folder.is_dir() and (names := {path.name for path in folder.iterdir()}):
        # replaced as a whole, so nothing else may be in it: not the recordings that it is trained on, either
        if others := sorted(names - _DETECTOR_FILES):
            problem = f"contains other files, which would be deleted: {', '.join(others[:5])}"
            raise UserError(problem, where=str(folder), fix="choose another folder with --output")
        try:
            open_artifact(folder)
        except DetectorError as error:
            raise UserError(error.problem, where=str(folder), fix="choose another folder with --output") from None
        if not settings.overwrite:
            fix = "set --overwrite, or choose another --output"
            raise UserError("a detector already exists", where=str(folder), fix=fix)
    try:
        with temporary_sibling_dir(folder):
            pass
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise UserError(problem, where=str(folder), fix="choose another folder with --output") from None


def _require_onnx() -> None:
    """Raise MissingExtraError before any work."""
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "wakeword", "a wake-word detector")


def _write_folder(settings: WakeWordSettings, student: Student, graph: bytes, manifest: dict[str, Any]) -> None:
    """Write the folder under a temporary name, then replace the old one."""
    folder = settings.output
    with temporary_sibling_dir(folder) as scratch:
        new, old = scratch / "new", scratch / "old"
        new.mkdir()
        (new / DETECTOR_ONNX_FILE).write_bytes(graph)
        weights = {name: tensor.contiguous() for name, tensor in student.state_dict().items()}
        save_file(weights, new / DETECTOR_WEIGHTS_FILE)
        mode = (new / DETECTOR_ONNX_FILE).stat().st_mode
        (new / DETECTOR_WEIGHTS_FILE).chmod(mode)  # safetensors creates files readable by their owner only
        (new / DETECTOR_MANIFEST_FILE).write_text(_to_text(manifest), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise


def _to_text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
