"""From a word to a detector's folder: gather, train and mine, calibrate, write. `train_detector` is the order of it all."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from speechxfer.data.augment import add_babble, add_noise
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.prepare import PreparedData, RecordedClip, prepare_training_data
from speechxfer.wakeword.evaluation.metrics import ScoredRecording
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
)
from speechxfer.wakeword.runtime.events import Scores
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.calibration import Calibration, calibrate
from speechxfer.wakeword.training.loop import TrainingPlan, compute_logits, compute_probabilities, train_student
from speechxfer.wakeword.training.mining import MiningLoop

CALIBRATION_SNR_DB = 10.0  # dB, of held-out clips and streams that are calibrated on beside the clean ones


def train_detector(settings: WakeWordSettings, narrator: Reporter) -> dict[str, Any]:
    """Train a detector and write its folder; returns its manifest.

    Raises UserError: recordings that cannot be used, a folder that holds something already.
    """
    begun = time.monotonic()
    _check_output(settings)
    _need_runtime()
    if settings.teacher != NO_TEACHER:
        from speechxfer.encoders.checkpoints import resolve_transformers_dir

        resolve_transformers_dir(settings.teacher)  # a wrong name is told at once
    gathered = prepare_training_data(settings, narrator)
    material = gathered.mixer
    for name in gathered.contaminated:
        narrator.info(f"left out of the negatives, for it says the word: {name}")
    narrator.info(
        f"'{settings.word}', with all variants: {len(material.positives)} positives, {len(material.near_misses)} near misses, "
        f"{len(material.negatives) / 360_000:.2f} h of other speech"
    )
    rounds = MiningLoop(settings, gathered, narrator)
    plan = TrainingPlan(
        steps=settings.steps, batch=settings.batch, mining_rounds=settings.mining_rounds, extra_rounds=settings.extra_rounds,
        max_seconds=60 * settings.max_minutes, distillation_weight=settings.distillation_weight, seed=settings.seed,
    )  # fmt: skip
    lessons, taught = _make_soft_targets(settings, gathered, narrator)
    with narrator.progress("training") as told:
        student = train_student(
            material, plan, shape=StudentConfig(width=settings.width), progress=told, on_round=rounds, lessons=lessons
        )
    graph = export_student(student)
    scorer = Scorer(graph)
    held = rounds.drop_contaminated(student)
    calibration = _calibrate(settings, gathered, held, rounds.check.sounds, student, scorer)
    mining = rounds.to_json(scorer, calibration.trigger)
    narrator.info(_describe_mining(mining))
    narrator.info(calibration.describe())
    manifest = {
        "format": DETECTOR_FORMAT,
        "word": settings.word,
        "made_by": {"speechxfer": metadata.version("speechxfer"), "torch": torch.__version__},
        "settings": _portable_settings(settings),
        "model": {
            **student.shape.to_json(),
            "parameters": sum(p.numel() for p in student.parameters()),
            "sees_seconds": round(student.receptive_seconds, 3),
            "first_score_seconds": FIRST_SCORE_SECONDS,
            "step_seconds": STEP_SECONDS,
            "encoder": taught,
        },
        "data": gathered.sources,
        "negatives_with_the_word": [*gathered.contaminated, *rounds.suspects.dropped],
        "negatives_that_sound_like_it": rounds.suspects.unsure,
        "calibration": {**calibration.to_json(), "clips_kind": gathered.clips_kind},
        "mining": mining,
        "seconds": round(time.monotonic() - begun, 1),
    }
    _write(settings, student, graph, manifest)
    return manifest


def _make_soft_targets(
    settings: WakeWordSettings, gathered: PreparedData, narrator: Reporter
) -> tuple[SoftTargets | None, dict[str, Any] | None]:
    """What a teacher says of the pool, and what the manifest says of the teacher; nothing where none is asked for."""
    if not gathered.window_pool.wanted:
        return None, None
    with narrator.progress(f"windows encoded by {settings.teacher}") as told:
        lessons, facts = make_soft_targets(settings.teacher, gathered.window_pool, progress=told)
    narrator.info(f"the teacher errs in {100 * facts['errors']:.1f} % of windows that its head never heard")
    name = Path(settings.teacher).name
    return lessons, {**facts, "encoder": name, "role": "teacher", "weight": settings.distillation_weight}


def add_stream_results(folder: Path, names: Sequence[str], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Keep in a detector's manifest what it did on real streams after its training; the manifest."""
    kept = ("false_alarms", "hours", "false_alarms_per_hour", "intervals", "threshold", "smoothing", "refractory")
    manifest: dict[str, Any] = json.loads((folder / DETECTOR_MANIFEST_FILE).read_text(encoding="utf-8"))
    streams = [Path(name).name for name in names]
    manifest["streams"] = {"names": streams, **{name: figures[name] for name in kept}}
    part = folder / f".{DETECTOR_MANIFEST_FILE}.part"
    part.write_text(_as_text(manifest), encoding="utf-8")
    part.replace(folder / DETECTOR_MANIFEST_FILE)
    return manifest


def _calibrate(
    settings: WakeWordSettings, gathered: PreparedData, held: Sequence[RecordedClip], checked: Sequence[RecordedClip], student: Student,
    scorer: Scorer,
) -> Calibration:  # fmt: skip
    """On held-out clips and streams; what was checked by, and both among noise and voices, must stay silent too.

    Sounds that were trained on are no measure of that: the longer the training, the quieter they are.
    """
    rng = np.random.default_rng([settings.seed, 2])
    mixes: list[Callable[[np.ndarray], np.ndarray]] = [lambda w: w, lambda w: add_noise(w, CALIBRATION_SNR_DB, rng)]
    clips = [
        score_clip(scorer, s.waveform, str(s.row["id"]), mix=mix) for mix in mixes for s in gathered.held_out_clips
    ]
    streams = [score_waveforms(scorer, [s.waveform for s in held], "held out")] if held else []
    scores = compute_probabilities(compute_logits(student, gathered.mixer.negatives))
    silent = [
        ScoredRecording(
            "training", Scores(scores, STEP_SECONDS, FIRST_SCORE_SECONDS), hours=len(scores) * STEP_SECONDS / 3600
        )
    ]
    if unheard := [s.waveform for s in (*held, *checked)]:
        mixes.append(partial(add_babble, voices=unheard, snr=CALIBRATION_SNR_DB, rng=rng))
        silent += [score_waveforms(scorer, map(mix, unheard), "held out and checked by") for mix in mixes]
    return calibrate(clips, streams, silent, settings.false_alarms_per_hour, gathered.kind)


def _describe_mining(mining: dict[str, Any]) -> str:
    """How the rounds went, in words."""
    done = f"{len(mining['rounds'])} rounds of mining, ended: {mining['stopped']}"
    if not mining["rounds"] or mining["alarms_at_the_calibrated_threshold"] is None:
        return done
    counts = ", ".join(str(found["alarms"]) for found in mining["rounds"])
    return f"{done} ({counts} false alarms after each in {mining['hours']:.2f} h that training does not hear)"


def _portable_settings(settings: WakeWordSettings) -> dict[str, Any]:
    """The settings without this machine's folders."""
    values = json.loads(settings.model_dump_json(exclude={"output", "overwrite"}))
    for name in ("positives", "negatives", "noise", "voices", "teacher"):
        values[name] = Path(values[name]).name if values[name] else None
    return values


def _check_output(settings: WakeWordSettings) -> None:
    """Raise UserError where the output folder is taken or cannot be written, before any work."""
    folder = settings.output
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file", where=str(folder), fix="name another folder with --output")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / DETECTOR_MANIFEST_FILE).is_file():
            raise UserError("holds other files", where=str(folder), fix="name another folder with --output")
        if not settings.overwrite:
            raise UserError("holds a detector already", where=str(folder), fix="say --overwrite, or another --output")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-").cleanup()
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise UserError(problem, where=str(folder), fix="name another folder with --output") from None


def _need_runtime() -> None:
    """Raise MissingExtraError before any work, not after it."""
    import importlib.util

    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "wakeword", "a wake-word detector")


def _write(settings: WakeWordSettings, student: Student, graph: bytes, manifest: dict[str, Any]) -> None:
    """Write the folder aside, then put it in its place."""
    folder = settings.output
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        (new / DETECTOR_ONNX_FILE).write_bytes(graph)
        save_file(
            {name: tensor.contiguous() for name, tensor in student.state_dict().items()}, new / DETECTOR_WEIGHTS_FILE
        )
        (new / DETECTOR_WEIGHTS_FILE).chmod(
            (new / DETECTOR_ONNX_FILE).stat().st_mode
        )  # safetensors writes for the owner alone
        (new / DETECTOR_MANIFEST_FILE).write_text(_as_text(manifest), encoding="utf-8")
        old = Path(scratch) / "old"
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise


def _as_text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
