"""`speechxfer adapt --dry-run`: what a recipe would do and take here, measured on a few real batches."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from speechxfer.adaptation.batches import BatchesBySeconds, Collate, TrainingUtterances
from speechxfer.adaptation.caching import Expected, can_keep, copies_of, expected, fits
from speechxfer.adaptation.candidates import FINALISTS
from speechxfer.adaptation.checkpoints import MOST_EPOCHS
from speechxfer.adaptation.folder import RunFolder
from speechxfer.adaptation.learning_curve import Portion, portions
from speechxfer.adaptation.material import gather
from speechxfer.adaptation.run import untouched_model
from speechxfer.adaptation.stages import training_seconds
from speechxfer.adaptation.trainee import Trainee, parameter_counts
from speechxfer.adaptation.trainer import in_bfloat16
from speechxfer.config import Recipe, require_values
from speechxfer.config.recipe import Cache, Stage
from speechxfer.data import audio
from speechxfer.data.augment import Augment
from speechxfer.encoders.cache import frames_folder
from speechxfer.errors import UserError
from speechxfer.models import WITH_DECODER, SpeechModel, answers, to_adapt
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.report.progress import Narrator
from speechxfer.shapes import Inputs

TIMED_BATCHES = 2  # after one to warm up
TIMED_UTTERANCES = 8
KEPT_CHECKPOINTS = 2  # of each stage: the best and the last


def plan(
    recipe: Recipe,
    *,
    name: str = "run",
    resume: bool = False,
    learning_curve: bool = False,
    narrator: Narrator | None = None,
) -> dict[str, Any]:
    """Check everything that `adapt` checks, time a few batches and answers, and train nothing.

    Returns and prints `hours` of each part, `steps`, `minutes`, `disk_mb` of the run folder and `cache_mb` of frozen
    frames, by stage and in all; with `learning_curve` what its portions add. They are of the whole run, as if no frames
    were kept yet and, of one that is to be resumed, no stage begun. Leaves nothing behind.
    Raises UserError as `adapt` does.
    """
    narrator = narrator or Narrator()
    require_values(recipe)
    folder = RunFolder(Path(recipe.output or Path("runs") / name))
    folder.check(recipe, resume=resume)
    folder.can_be_made()
    material = gather(recipe, narrator)
    model = to_adapt(recipe, material.texts)
    targets = material.targets(model)
    parts = {"train": material.train, "dev": material.dev, "test": material.test}
    hours = {part: round(_seconds(rows) / 3600, 3) for part, rows in parts.items()}

    trainee = Trainee(model, recipe.augment, recipe.lora)
    augment = Augment(recipe.augment, longest=model.encoder.longest)
    utterances = TrainingUtterances(material.train, targets, augment, recipe.seed)
    seconds = training_seconds(trainee, utterances)
    dev = _answering(model, material.dev, recipe)
    stages = [_stage(stage, trainee, utterances, seconds, dev, recipe) for stage in recipe.stages]

    test = _answering(model, material.test, recipe)
    choosing = dev * _measured(recipe, model)
    around = test + choosing + dev + dev / len(material.dev) * len(material.some_of_train(recipe.seed))
    if (untouched := untouched_model(recipe)) is not None:
        around += _answering(untouched, material.dev, recipe) + _answering(untouched, material.test, recipe)
    if model.kind in WITH_DECODER and not model.settings.pad_to_30s:
        with model.padded():
            around += _answering(model, material.test, recipe)
    sizes = portions(material.train, recipe.data.group, recipe.seed)[:-1] if learning_curve else []
    points = [_portion(size, recipe, stages, seconds, dev, choosing) for size in sizes]
    around += sum(point["seconds"] for point in points)
    bytes_of_weights = sum(p.numel() * p.element_size() for p in model.network.parameters())
    bytes_of_stages = sum(stage.pop("bytes") for stage in stages) * (2 if points else 1)  # one portion's at a time
    planned = {
        "hours": hours,
        "stages": stages,
        **({"learning_curve": points} if points else {}),
        "steps": sum(part["steps"] for part in (*stages, *points)),
        "minutes": round((around + sum(stage["seconds"] for stage in stages)) / 60, 1),
        "disk_mb": round((bytes_of_weights + bytes_of_stages) / 1e6, 2),
        "cache_mb": round(sum(stage["cache_mb"] for stage in stages), 2),
        "device": model.device.type,
        "output": str(folder.path),
    }
    _tell(planned, narrator)
    return planned


def _stage(
    stage: Stage, trainee: Trainee, utterances: TrainingUtterances, seconds: list[float], dev: float, recipe: Recipe
) -> dict[str, Any]:
    """Steps, seconds and bytes of checkpoints and frozen frames of one stage, from a few of its own batches."""
    trainee.begin(stage)
    model, cache = trainee.model, recipe.cache
    device = model.device.type
    utterances.copies = copies_of(cache, trainee.split)
    kept = _kept(expected(stage, trainee.split, model, utterances, seconds, cache), trainee.split, cache)
    epochs = math.ceil(stage.epochs)
    share = trainee.augment.pad_to_30s
    batches = BatchesBySeconds(seconds, most=stage.batch_seconds, epochs=epochs, seed=recipe.seed)
    drawn = list(batches)
    collate = Collate(trainee.model)
    trained = [parameter for parameter in trainee.parameters() if parameter.requires_grad]

    def timed(batch: list) -> np.ndarray:
        """Seconds of what lies below the split, and of the rest."""
        began = time.perf_counter()
        inputs = {name: tensor.to(model.device) for name, tensor in collate([utterances[d] for d in batch]).items()}
        with torch.no_grad():
            hidden = model.encoder.lower(Inputs(inputs["features"], inputs["lengths"]), trainee.split)
        _synchronise(model)
        between = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=in_bfloat16(recipe.precision, device)):
            loss = trainee(lengths=hidden.lengths, labels=inputs["labels"], states=hidden.states)["loss"]
        loss.backward()
        for parameter in trained:
            parameter.grad = None
        _synchronise(model)
        return np.array([between - began, time.perf_counter() - between])

    spread = [drawn[place * len(drawn) // (TIMED_BATCHES + 1)] for place in range(TIMED_BATCHES + 1)]
    timed(spread[0])
    each = np.mean([timed(batch) for batch in spread[1:]], axis=0)
    encodings, passes = len(batches) * (kept.copies if kept else stage.epochs), len(batches) * stage.epochs
    spent = float(each @ [encodings, passes])
    if share:
        few = [draw._replace(padded=True) for draw in spread[-1][:2]]
        # a padded batch is encoded as it comes
        spent += share * (float(timed(few).sum()) * len(spread[-1]) / len(few) * passes - spent)
    counts = parameter_counts(trainee.model)
    training = sum(count["trained"] for count in counts.values())
    weights = training + sum(count["frozen"] for count in counts.values())
    named = min(max(epochs, KEPT_CHECKPOINTS), MOST_EPOCHS + 1)  # the last epochs' weights, and the best one's
    return {
        "train": stage.train,
        "trained_parameters": training,
        "steps": _steps(stage, len(batches)),
        "seconds": round(spent + epochs * dev, 1),
        "cache_mb": round(kept.megabytes, 2) if kept else 0.0,
        "bytes": 4 * (named * weights + KEPT_CHECKPOINTS * 2 * training),  # the optimiser has two moments
    }


def _portion(
    size: Portion, recipe: Recipe, stages: list[dict[str, Any]], seconds: list[float], dev: float, choosing: float
) -> dict[str, Any]:
    """Steps and seconds of the same stages on a portion: training by its share of the audio, dev as often as ever."""
    inside = [seconds[row] for row in size.rows]
    share = sum(inside) / sum(seconds)
    steps, spent = 0, choosing
    for stage, planned in zip(recipe.stages, stages, strict=True):
        batches = BatchesBySeconds(inside, most=stage.batch_seconds, epochs=math.ceil(stage.epochs), seed=recipe.seed)
        steps += _steps(stage, len(batches))
        listening = math.ceil(stage.epochs) * dev
        spent += share * (planned["seconds"] - listening) + listening
    return {"share": size.share, "utterances": len(size.rows), "steps": steps, "seconds": round(spent, 1)}


def _steps(stage: Stage, batches: int) -> int:
    return math.ceil(math.ceil(batches / stage.accumulate) * stage.epochs)


def _measured(recipe: Recipe, model: SpeechModel) -> int:
    """How often dev is heard beside the stages' epochs: by every candidate, and again by the finalists of a beam."""
    whisper, stated = isinstance(model, WhisperRecogniser), recipe.candidates
    more = len(stated.means) + (len(stated.untouched) if whisper and not recipe.lora.rank else 0)
    finalists = min(FINALISTS, len(recipe.stages) + more) if whisper and model.settings.beams > 1 else 0
    return more + finalists


def _kept(wanted: Expected, split: int, cache: Cache) -> Expected | None:
    """What a stage would keep; None where it would not. Raises UserError as `adapt` does under `cache.use: always`."""
    if not can_keep(cache, split):
        return None
    every = wanted.copies * wanted.utterances
    try:
        fits(wanted, every, cache)
    except UserError:
        if cache.use == "always":
            raise
        return None
    return wanted if cache.use == "always" or wanted.pays(every) else None


def _synchronise(model: SpeechModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _answering(model: SpeechModel, part: Dataset, recipe: Recipe) -> float:
    """Seconds that answering the whole part takes, from a few of its utterances."""
    few = part.select(range(0, len(part), max(1, len(part) // TIMED_UTTERANCES)))
    began = time.perf_counter()
    answers(model, few, batch_seconds=recipe.decoding.batch_seconds)
    return (time.perf_counter() - began) * len(part) / len(few)


def _seconds(part: Dataset) -> float:
    return sum(audio.seconds(row) for row in part)


def _in_words(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 0.1 else f"{60 * hours:.1f} min"


def _tell(planned: dict[str, Any], narrator: Narrator) -> None:
    free = shutil.disk_usage(_existing(Path(planned["output"]))).free / 1e6
    hours = ", ".join(f"{part} {_in_words(value)}" for part, value in planned["hours"].items())
    narrator.say(f"\naudio   {hours}")
    for number, stage in enumerate(planned["stages"]):
        named = ", ".join(stage["train"])
        narrator.say(
            f"stage {number} ({named}): {stage['steps']:,} steps, {stage['trained_parameters']:,} parameters, "
            f"about {stage['seconds'] / 60:.1f} min"
        )
    for point in planned.get("learning_curve", ()):
        narrator.say(
            f"{point['share']:.0%} of train: {point['utterances']:,} utterances, {point['steps']:,} steps, "
            f"about {point['seconds'] / 60:.1f} min"
        )
    narrator.say(f"in all  {planned['steps']:,} steps, about {planned['minutes']:.3g} min on {planned['device']}")
    narrator.say(f"disk    {planned['disk_mb']:,.0f} MB in {planned['output']} ({free:,.0f} MB are free)")
    if planned["cache_mb"]:
        narrator.say(f"frames  {planned['cache_mb']:,.0f} MB in {frames_folder()}")
    if planned["disk_mb"] > free:
        raise UserError(
            "the run would not fit on the disk", where=planned["output"], fix="make room, or say output=DIR"
        )


def _existing(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _existing(path.parent)
