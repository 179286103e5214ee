"""From a word to a detector's folder: gather, train and mine, calibrate, write. `build` is the order of it all."""

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
from speechxfer.report.progress import Narrator
from speechxfer.wakeword.calibration import Calibration, calibrate
from speechxfer.wakeword.detector import FORMAT, MANIFEST, MODEL, WEIGHTS, Scorer
from speechxfer.wakeword.evaluation import Heard
from speechxfer.wakeword.events import Scores
from speechxfer.wakeword.gathering import Gathered, Sound, gather
from speechxfer.wakeword.mining import Rounds
from speechxfer.wakeword.onnx_graph import to_onnx
from speechxfer.wakeword.settings import Settings
from speechxfer.wakeword.streams import hear_clip, hear_sounds
from speechxfer.wakeword.student import FIRST, STEP, Shape, Student
from speechxfer.wakeword.teacher import NONE, Lessons, teach
from speechxfer.wakeword.training import Plan, logits_of, probabilities_of, train

SNR = 10.0  # dB, of held-out clips and streams that are calibrated on beside the clean ones


def build(settings: Settings, narrator: Narrator) -> dict[str, Any]:
    """Train a detector and write its folder; returns its manifest.

    Raises UserError: recordings that cannot be used, a folder that holds something already.
    """
    begun = time.monotonic()
    _refuse(settings)
    _need_runtime()
    if settings.teacher != NONE:
        from speechxfer.encoders.weights import find

        find(settings.teacher)  # a wrong name is told at once
    gathered = gather(settings, narrator)
    material = gathered.material
    for name in gathered.with_word:
        narrator.say(f"left out of the negatives, for it says the word: {name}")
    narrator.say(
        f"'{settings.word}', with all variants: {len(material.positives)} positives, {len(material.near)} near misses, "
        f"{len(material.negatives) / 360_000:.2f} h of other speech"
    )
    rounds = Rounds(settings, gathered, narrator)
    plan = Plan(
        steps=settings.steps, batch=settings.batch, rounds=settings.rounds, extra=settings.extra,
        seconds=60 * settings.minutes, teaching=settings.teaching, seed=settings.seed,
    )  # fmt: skip
    lessons, taught = _lessons(settings, gathered, narrator)
    with narrator.bar("training") as told:
        student = train(
            material, plan, shape=Shape(width=settings.width), progress=told, on_round=rounds, lessons=lessons
        )
    graph = to_onnx(student)
    scorer = Scorer(graph)
    held = rounds.without_the_word(student)
    calibration = _calibrated(settings, gathered, held, rounds.check.sounds, student, scorer)
    mining = rounds.to_json(scorer, calibration.trigger)
    narrator.say(_mined(mining))
    narrator.say(calibration.sentence())
    manifest = {
        "format": FORMAT,
        "word": settings.word,
        "made_by": {"speechxfer": metadata.version("speechxfer"), "torch": torch.__version__},
        "settings": _portable(settings),
        "model": {
            **student.shape.to_json(),
            "parameters": sum(p.numel() for p in student.parameters()),
            "sees_seconds": round(student.sees, 3),
            "first_score_seconds": FIRST,
            "step_seconds": STEP,
            "encoder": taught,
        },
        "data": gathered.sources,
        "negatives_with_the_word": [*gathered.with_word, *rounds.suspects.dropped],
        "negatives_that_sound_like_it": rounds.suspects.unsure,
        "calibration": {**calibration.to_json(), "clips_kind": gathered.clips_kind},
        "mining": mining,
        "seconds": round(time.monotonic() - begun, 1),
    }
    _write(settings, student, graph, manifest)
    return manifest


def _lessons(
    settings: Settings, gathered: Gathered, narrator: Narrator
) -> tuple[Lessons | None, dict[str, Any] | None]:
    """What a teacher says of the pool, and what the manifest says of the teacher; nothing where none is asked for."""
    if not gathered.pool.wanted:
        return None, None
    with narrator.bar(f"windows encoded by {settings.teacher}") as told:
        lessons, facts = teach(settings.teacher, gathered.pool, progress=told)
    narrator.say(f"the teacher errs in {100 * facts['errors']:.1f} % of windows that its head never heard")
    name = Path(settings.teacher).name
    return lessons, {**facts, "encoder": name, "role": "teacher", "weight": settings.teaching}


def add_streams(folder: Path, names: Sequence[str], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Keep in a detector's manifest what it did on real streams after its training; the manifest."""
    kept = ("false_alarms", "hours", "false_alarms_per_hour", "intervals", "threshold", "smoothing", "refractory")
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    streams = [Path(name).name for name in names]
    manifest["streams"] = {"names": streams, **{name: figures[name] for name in kept}}
    part = folder / f".{MANIFEST}.part"
    part.write_text(_as_text(manifest), encoding="utf-8")
    part.replace(folder / MANIFEST)
    return manifest


def _calibrated(
    settings: Settings, gathered: Gathered, held: Sequence[Sound], checked: Sequence[Sound], student: Student,
    scorer: Scorer,
) -> Calibration:  # fmt: skip
    """On held-out clips and streams; what was checked by, and both among noise and voices, must stay silent too.

    Sounds that were trained on are no measure of that: the longer the training, the quieter they are.
    """
    rng = np.random.default_rng([settings.seed, 2])
    mixes: list[Callable[[np.ndarray], np.ndarray]] = [lambda w: w, lambda w: add_noise(w, SNR, rng)]
    clips = [hear_clip(scorer, s.waveform, str(s.row["id"]), mix=mix) for mix in mixes for s in gathered.clips]
    streams = [hear_sounds(scorer, [s.waveform for s in held], "held out")] if held else []
    scores = probabilities_of(logits_of(student, gathered.material.negatives))
    silent = [Heard("training", Scores(scores, STEP, FIRST), hours=len(scores) * STEP / 3600)]
    if unheard := [s.waveform for s in (*held, *checked)]:
        mixes.append(partial(add_babble, voices=unheard, snr=SNR, rng=rng))
        silent += [hear_sounds(scorer, map(mix, unheard), "held out and checked by") for mix in mixes]
    return calibrate(clips, streams, silent, settings.target, gathered.kind)


def _mined(mining: dict[str, Any]) -> str:
    """How the rounds went, in words."""
    done = f"{len(mining['rounds'])} rounds of mining, ended: {mining['stopped']}"
    if not mining["rounds"] or mining["alarms_at_the_calibrated_threshold"] is None:
        return done
    counts = ", ".join(str(found["alarms"]) for found in mining["rounds"])
    return f"{done} ({counts} false alarms after each in {mining['hours']:.2f} h that training does not hear)"


def _portable(settings: Settings) -> dict[str, Any]:
    """The settings without this machine's folders."""
    values = json.loads(settings.model_dump_json(exclude={"output", "overwrite"}))
    for name in ("positives", "negatives", "noise", "voices", "teacher"):
        values[name] = Path(values[name]).name if values[name] else None
    return values


def _refuse(settings: Settings) -> None:
    """Raise UserError where the output folder is taken or cannot be written, before any work."""
    folder = settings.output
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file", where=str(folder), fix="name another folder with --output")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MANIFEST).is_file():
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


def _write(settings: Settings, student: Student, graph: bytes, manifest: dict[str, Any]) -> None:
    """Write the folder aside, then put it in its place."""
    folder = settings.output
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        (new / MODEL).write_bytes(graph)
        save_file({name: tensor.contiguous() for name, tensor in student.state_dict().items()}, new / WEIGHTS)
        (new / WEIGHTS).chmod((new / MODEL).stat().st_mode)  # safetensors writes for the owner alone
        (new / MANIFEST).write_text(_as_text(manifest), encoding="utf-8")
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
