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

from speechxfer.adaptation.cache.feature_cache import (
    CacheEstimate,
    check_cache_fits,
    count_augmented_copies,
    estimate_cache,
    is_cacheable,
)
from speechxfer.adaptation.data.splits import prepare_splits
from speechxfer.adaptation.learning_curve import Subset, make_subsets
from speechxfer.adaptation.run import load_zero_shot_model
from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.selection.model_selection import NUM_BEAM_CANDIDATES
from speechxfer.adaptation.training.batching import BatchCollator, DurationBatchSampler, TrainingDataset
from speechxfer.adaptation.training.checkpoints import MAX_KEPT_EPOCHS
from speechxfer.adaptation.training.staged_module import StagedModule, count_parameters
from speechxfer.adaptation.training.stages import compute_utterance_durations
from speechxfer.adaptation.training.trainer import uses_bfloat16
from speechxfer.config import Recipe, require_values
from speechxfer.config.recipe import CacheConfig, StageConfig
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.encoders.frame_store import get_frames_dir
from speechxfer.errors import UserError
from speechxfer.models import DECODER_KINDS, SpeechModel, build_trainable, predict_all
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.report.progress import Reporter
from speechxfer.shapes import Inputs

NUM_TIMED_BATCHES = 2  # after one to warm up
NUM_TIMED_UTTERANCES = 8
NUM_KEPT_CHECKPOINTS = 2  # of each stage: the best and the last


def estimate_run(
    recipe: Recipe,
    *,
    name: str = "run",
    resume: bool = False,
    learning_curve: bool = False,
    narrator: Reporter | None = None,
) -> dict[str, Any]:
    """Check everything that `adapt` checks, time a few batches and answers, and train nothing.

    Returns and prints `hours` of each part, `steps`, `max_minutes`, `disk_mb` of the run folder and `cache_mb` of frozen
    frames, by stage and in all; with `learning_curve` what its portions add. They are of the whole run, as if no frames
    were kept yet and, of one that is to be resumed, no stage begun. Leaves nothing behind.
    Raises UserError as `adapt` does.
    """
    narrator = narrator or Reporter()
    require_values(recipe)
    folder = RunDir(Path(recipe.output or Path("runs") / name))
    folder.validate(recipe, resume=resume)
    folder.check_writable()
    material = prepare_splits(recipe, narrator)
    model = build_trainable(recipe, material.texts)
    targets = material.encode_targets(model)
    parts = {"train": material.train, "dev": material.dev, "test": material.test}
    hours = {part: round(_total_seconds(rows) / 3600, 3) for part, rows in parts.items()}

    trainee = StagedModule(model, recipe.augment, recipe.lora)
    augment = WaveformAugmenter(recipe.augment, longest=model.encoder.max_samples)
    utterances = TrainingDataset(material.train, targets, augment, recipe.seed)
    seconds = compute_utterance_durations(trainee, utterances)
    dev = _estimate_inference_seconds(model, material.dev, recipe)
    stages = [_estimate_stage(stage, trainee, utterances, seconds, dev, recipe) for stage in recipe.stages]

    test = _estimate_inference_seconds(model, material.test, recipe)
    choosing = dev * _count_dev_evaluations(recipe, model)
    around = test + choosing + dev + dev / len(material.dev) * len(material.sample_train_probe(recipe.seed))
    if (untouched := load_zero_shot_model(recipe)) is not None:
        around += _estimate_inference_seconds(untouched, material.dev, recipe) + _estimate_inference_seconds(
            untouched, material.test, recipe
        )
    if model.kind in DECODER_KINDS and not model.settings.pad_to_30s:
        with model.use_padding():
            around += _estimate_inference_seconds(model, material.test, recipe)
    sizes = make_subsets(material.train, recipe.data.group, recipe.seed)[:-1] if learning_curve else []
    points = [_estimate_subset(size, recipe, stages, seconds, dev, choosing) for size in sizes]
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
    _print_estimate(planned, narrator)
    return planned


def _estimate_stage(
    stage: StageConfig,
    trainee: StagedModule,
    utterances: TrainingDataset,
    seconds: list[float],
    dev: float,
    recipe: Recipe,
) -> dict[str, Any]:
    """Steps, seconds and bytes of checkpoints and frozen frames of one stage, from a few of its own batches."""
    trainee.apply_stage(stage)
    model, cache = trainee.model, recipe.cache
    device = model.device.type
    utterances.copies = count_augmented_copies(cache, trainee.split)
    kept = _estimate_stage_cache(
        estimate_cache(stage, trainee.split, model, utterances, seconds, cache), trainee.split, cache
    )
    epochs = math.ceil(stage.epochs)
    share = trainee.augment.pad_to_30s
    batches = DurationBatchSampler(seconds, max_seconds=stage.batch_seconds, epochs=epochs, seed=recipe.seed)
    drawn = list(batches)
    collate = BatchCollator(trainee.model)
    trained = [parameter for parameter in trainee.parameters() if parameter.requires_grad]

    def timed(batch: list) -> np.ndarray:
        """Seconds of what lies below the split, and of the rest."""
        began = time.perf_counter()
        inputs = {name: tensor.to(model.device) for name, tensor in collate([utterances[d] for d in batch]).items()}
        with torch.no_grad():
            hidden = model.encoder.forward_to(Inputs(inputs["features"], inputs["lengths"]), trainee.split)
        _synchronise(model)
        between = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=uses_bfloat16(recipe.precision, device)):
            loss = trainee(lengths=hidden.lengths, labels=inputs["labels"], states=hidden.states)["loss"]
        loss.backward()
        for parameter in trained:
            parameter.grad = None
        _synchronise(model)
        return np.array([between - began, time.perf_counter() - between])

    spread = [drawn[place * len(drawn) // (NUM_TIMED_BATCHES + 1)] for place in range(NUM_TIMED_BATCHES + 1)]
    timed(spread[0])
    each = np.mean([timed(batch) for batch in spread[1:]], axis=0)
    encodings, passes = len(batches) * (kept.num_copies if kept else stage.epochs), len(batches) * stage.epochs
    spent = float(each @ [encodings, passes])
    if share:
        few = [draw._replace(padded=True) for draw in spread[-1][:2]]
        # a padded batch is encoded as it comes
        spent += share * (float(timed(few).sum()) * len(spread[-1]) / len(few) * passes - spent)
    counts = count_parameters(trainee.model)
    training = sum(count["trained"] for count in counts.values())
    weights = training + sum(count["frozen"] for count in counts.values())
    named = min(max(epochs, NUM_KEPT_CHECKPOINTS), MAX_KEPT_EPOCHS + 1)  # the last epochs' weights, and the best one's
    return {
        "train": stage.train,
        "trained_parameters": training,
        "steps": _count_steps(stage, len(batches)),
        "seconds": round(spent + epochs * dev, 1),
        "cache_mb": round(kept.megabytes, 2) if kept else 0.0,
        "bytes": 4 * (named * weights + NUM_KEPT_CHECKPOINTS * 2 * training),  # the optimiser has two moments
    }


def _estimate_subset(
    size: Subset, recipe: Recipe, stages: list[dict[str, Any]], seconds: list[float], dev: float, choosing: float
) -> dict[str, Any]:
    """Steps and seconds of the same stages on a portion: training by its share of the audio, dev as often as ever."""
    inside = [seconds[row] for row in size.rows]
    share = sum(inside) / sum(seconds)
    steps, spent = 0, choosing
    for stage, planned in zip(recipe.stages, stages, strict=True):
        batches = DurationBatchSampler(
            inside, max_seconds=stage.batch_seconds, epochs=math.ceil(stage.epochs), seed=recipe.seed
        )
        steps += _count_steps(stage, len(batches))
        listening = math.ceil(stage.epochs) * dev
        spent += share * (planned["seconds"] - listening) + listening
    return {"share": size.share, "utterances": len(size.rows), "steps": steps, "seconds": round(spent, 1)}


def _count_steps(stage: StageConfig, batches: int) -> int:
    return math.ceil(math.ceil(batches / stage.gradient_accumulation) * stage.epochs)


def _count_dev_evaluations(recipe: Recipe, model: SpeechModel) -> int:
    """How often dev is heard beside the stages' epochs: by every candidate, and again by the finalists of a beam."""
    whisper, stated = isinstance(model, WhisperRecogniser), recipe.candidates
    more = len(stated.means) + (len(stated.pretrained_share) if whisper and not recipe.lora.rank else 0)
    finalists = min(NUM_BEAM_CANDIDATES, len(recipe.stages) + more) if whisper and model.settings.beam_size > 1 else 0
    return more + finalists


def _estimate_stage_cache(wanted: CacheEstimate, split: int, cache: CacheConfig) -> CacheEstimate | None:
    """What a stage would keep; None where it would not. Raises UserError as `adapt` does under `cache.use: always`."""
    if not is_cacheable(cache, split):
        return None
    every = wanted.num_copies * wanted.num_utterances
    try:
        check_cache_fits(wanted, every, cache)
    except UserError:
        if cache.use == "always":
            raise
        return None
    return wanted if cache.use == "always" or wanted.is_worthwhile(every) else None


def _synchronise(model: SpeechModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _estimate_inference_seconds(model: SpeechModel, part: Dataset, recipe: Recipe) -> float:
    """Seconds that answering the whole part takes, from a few of its utterances."""
    few = part.select(range(0, len(part), max(1, len(part) // NUM_TIMED_UTTERANCES)))
    began = time.perf_counter()
    predict_all(model, few, batch_seconds=recipe.decoding.batch_seconds)
    return (time.perf_counter() - began) * len(part) / len(few)


def _total_seconds(part: Dataset) -> float:
    return sum(audio.measure_duration(row) for row in part)


def _format_hours(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 0.1 else f"{60 * hours:.1f} min"


def _print_estimate(planned: dict[str, Any], narrator: Reporter) -> None:
    free = shutil.disk_usage(_nearest_existing_dir(Path(planned["output"]))).free / 1e6
    hours = ", ".join(f"{part} {_format_hours(value)}" for part, value in planned["hours"].items())
    narrator.info(f"\naudio   {hours}")
    for number, stage in enumerate(planned["stages"]):
        named = ", ".join(stage["train"])
        narrator.info(
            f"stage {number} ({named}): {stage['steps']:,} steps, {stage['trained_parameters']:,} parameters, "
            f"about {stage['seconds'] / 60:.1f} min"
        )
    for point in planned.get("learning_curve", ()):
        narrator.info(
            f"{point['share']:.0%} of train: {point['utterances']:,} utterances, {point['steps']:,} steps, "
            f"about {point['seconds'] / 60:.1f} min"
        )
    narrator.info(f"in all  {planned['steps']:,} steps, about {planned['minutes']:.3g} min on {planned['device']}")
    narrator.info(f"disk    {planned['disk_mb']:,.0f} MB in {planned['output']} ({free:,.0f} MB are free)")
    if planned["cache_mb"]:
        narrator.info(f"frames  {planned['cache_mb']:,.0f} MB in {get_frames_dir()}")
    if planned["disk_mb"] > free:
        raise UserError(
            "the run would not fit on the disk", where=planned["output"], fix="make room, or say output=DIR"
        )


def _nearest_existing_dir(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _nearest_existing_dir(path.parent)
