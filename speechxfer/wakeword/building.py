"""From a word to a detector's folder: gather, train and mine, calibrate, write. `build` is the order of it all."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from speechxfer.data.augment import add_noise
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.report.progress import Narrator
from speechxfer.wakeword.calibration import Calibration, calibrate
from speechxfer.wakeword.clips import Row, holds_word
from speechxfer.wakeword.detector import FORMAT, MANIFEST, MODEL, WEIGHTS, Scorer
from speechxfer.wakeword.evaluation import Heard
from speechxfer.wakeword.events import Scores
from speechxfer.wakeword.features import mel_energies
from speechxfer.wakeword.gathering import Gathered, Sound, gather
from speechxfer.wakeword.material import Material
from speechxfer.wakeword.onnx_graph import to_onnx
from speechxfer.wakeword.settings import Settings
from speechxfer.wakeword.streams import hear_clip, hear_sounds
from speechxfer.wakeword.student import FIRST, STEP, Shape, Student
from speechxfer.wakeword.training import Plan, logits_of, train

SNR = 10.0  # dB, of the held-out clips that are calibrated on beside the clean ones
_SUSPECTS = 20  # negatives that are listened to
_WHISPER = "whisper-tiny.en"


def build(settings: Settings, narrator: Narrator) -> dict[str, Any]:
    """Train a detector and write its folder; returns its manifest.

    Raises UserError: recordings that cannot be used, a folder that holds something already.
    """
    begun = time.monotonic()
    _refuse(settings)
    _need_runtime()
    gathered = gather(settings, narrator)
    material = gathered.material
    for name in gathered.with_word:
        narrator.say(f"left out of the negatives, for it says the word: {name}")
    narrator.say(
        f"'{settings.word}', with all variants: {len(material.positives)} positives, {len(material.near)} near misses, "
        f"{len(material.negatives) / 360_000:.2f} h of other speech"
    )
    checked = _Suspects(settings.word, gathered, narrator)
    plan = Plan(steps=settings.steps, batch=settings.batch, rounds=settings.rounds, seed=settings.seed)
    with narrator.bar("training") as told:
        student = train(material, plan, shape=Shape(width=settings.width), progress=told, on_round=checked.listen)
    graph = to_onnx(student)
    calibration = _calibrated(settings, gathered, checked.without_the_word(student), student, Scorer(graph))
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
            "encoder": None,
        },
        "data": gathered.sources,
        "negatives_with_the_word": [*gathered.with_word, *checked.dropped],
        "negatives_that_sound_like_it": checked.unsure,
        "calibration": {**calibration.to_json(), "clips_kind": gathered.clips_kind},
        "mining": checked.rounds,
        "seconds": round(time.monotonic() - begun, 1),
    }
    _write(settings, student, graph, manifest)
    return manifest


class _Suspects:
    """Listens, before each round of mining, to the negatives on which the detector fires as on the word itself.

    Those whose text is known do not say the word. Of the others those in which Whisper hears it are silenced in the
    material and listed; where Whisper is not installed, they are listed as ones to listen to.
    """

    def __init__(self, word: str, gathered: Gathered, narrator: Narrator) -> None:
        self.word, self.gathered, self.narrator = word, gathered, narrator
        self.dropped: list[str] = []
        self.unsure: list[str] = []
        self.rounds: list[dict[str, Any]] = []
        self._whisper: Any = None

    def listen(self, student: Student, material: Material) -> None:
        """Called by `train` with the student so far."""
        logits = logits_of(student, material.negatives)
        highest = [max(_highest(logits, *span) for span in spans) for spans in self.gathered.spans]
        bar = self._bar(student)
        self.rounds.append(
            {"round": len(self.rounds) + 1, "negatives_like_the_median_positive": int(np.sum(np.array(highest) > bar))}
        )
        for place in self._say_it(self.gathered.rows, highest, bar):
            for start, length in self.gathered.spans[place]:
                material.negatives[start : start + length] = 0

    def without_the_word(self, student: Student) -> list[Sound]:
        """The held-out negatives less those that hold the word."""
        stream = self.gathered.stream
        highest = [float(logits_of(student, mel_energies(s.waveform)).max(initial=-30.0)) for s in stream]
        said = set(self._say_it([s.row for s in stream], highest, self._bar(student)))
        return [sound for place, sound in enumerate(stream) if place not in said]

    def _bar(self, student: Student) -> float:
        """The median positive's highest logit."""
        clips = self.gathered.material.positives[::7]
        return float(np.median([logits_of(student, clip.energies).max(initial=-30.0) for clip in clips]))

    def _say_it(self, rows: Sequence[Row], highest: Sequence[float], bar: float) -> list[int]:
        """Places of the rows in which Whisper hears the word, of those above the bar without a text; lists are kept."""
        if self.gathered.kind != "real":
            return []
        order = [int(i) for i in np.argsort(highest)[::-1][:_SUSPECTS] if highest[i] > bar]
        order = [i for i in order if not rows[i].get("text")]
        said = []
        for place, text in zip(order, self._transcribed([rows[i] for i in order]) if order else [], strict=True):
            name = str(rows[place]["audio"])
            if text is not None and holds_word(text, self.word):
                said.append(place)
                if name not in self.dropped:
                    self.dropped.append(name)
                    self.narrator.say(f"left out of the negatives, for Whisper hears the word: {name}")
            elif name not in self.unsure:
                self.unsure.append(name)
        return said

    def _transcribed(self, rows: Sequence[Row]) -> list[str | None]:
        from speechxfer.data.audio import load
        from speechxfer.models.loading import load as load_model

        try:
            self._whisper = self._whisper or load_model(_WHISPER, device="cpu")
        except MissingExtraError:
            return [None] * len(rows)
        return [self._whisper.answer([load(row)])[0] for row in rows]


def _calibrated(
    settings: Settings, gathered: Gathered, held: Sequence[Sound], student: Student, scorer: Scorer
) -> Calibration:
    rng = np.random.default_rng([settings.seed, 2])
    mixes: list[Callable[[np.ndarray], np.ndarray]] = [lambda w: w, lambda w: add_noise(w, SNR, rng)]
    clips = [hear_clip(scorer, s.waveform, str(s.row["id"]), mix=mix) for mix in mixes for s in gathered.clips]
    streams = [hear_sounds(scorer, [s.waveform for s in held], "held out")] if held else []
    scores = 1 / (1 + np.exp(-logits_of(student, gathered.material.negatives).astype(np.float64)))
    trained = [Heard("training", Scores(scores, STEP, FIRST), hours=len(scores) * STEP / 3600)]
    return calibrate(clips, streams, trained, settings.target, gathered.kind)


def _highest(logits: np.ndarray, start: int, length: int) -> float:
    return float(logits[start // 2 : (start + length) // 2].max(initial=-30.0))


def _portable(settings: Settings) -> dict[str, Any]:
    """The settings without this machine's folders."""
    values = json.loads(settings.model_dump_json(exclude={"output", "overwrite"}))
    for name in ("positives", "negatives", "noise"):
        values[name] = Path(values[name]).name if values[name] else None
    return values


def _refuse(settings: Settings) -> None:
    """Raise UserError where the output folder is taken, before any work."""
    folder = settings.output
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file", where=str(folder), fix="name another folder with --output")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MANIFEST).is_file():
            raise UserError("holds other files", where=str(folder), fix="name another folder with --output")
        if not settings.overwrite:
            raise UserError("holds a detector already", where=str(folder), fix="say --overwrite, or another --output")


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
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
        (new / MANIFEST).write_text(text + "\n", encoding="utf-8")
        old = Path(scratch) / "old"
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
