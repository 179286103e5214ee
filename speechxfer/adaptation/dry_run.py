"""Dry run: estimates the steps, time and disk space of a recipe on this machine from a few timed batches."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from speechxfer.adaptation.data.splits import DataSplits, prepare_splits
from speechxfer.adaptation.learning_curve import Subset, make_subsets
from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.selection.model_selection import NUM_BEAM_CANDIDATES
from speechxfer.adaptation.setup import load_zero_shot_model
from speechxfer.adaptation.training.batching import BatchCollator, DurationBatchSampler, SampleIndex, TrainingDataset
from speechxfer.adaptation.training.checkpoints import MAX_KEPT_EPOCHS
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.joining import EpochPlan, UtteranceJoiner
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

NUM_TIMED_BATCHES = 2  # after one for warm-up
NUM_TIMED_UTTERANCES = 8
NUM_KEPT_CHECKPOINTS = 2  # per stage: the best and the last


@dataclass(frozen=True)
class _Timing:
    """Times of one run: utterance durations in seconds and weights, and seconds to predict for dev."""

    durations: list[float]
    weights: list[float] | None
    dev_seconds: float


def estimate_run(
    recipe: Recipe,
    *,
    name: str = "run",
    resume: bool = False,
    learning_curve: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Check everything that `adapt` checks and estimate the run from a few timed batches; nothing is trained.

    Returns and prints `hours` of each split, `steps`, `minutes`, `disk_mb` of the run directory and `cache_mb` of
    cached features, by stage and in total, with `learning_curve` those of its subsets, and the seconds of model
    selection and of the evaluation on dev and test; `minutes` is their sum. The estimate is of a whole run:
    without cached features, and for a run to be resumed from its start. Leaves no files behind.

    Raises:
        UserError: as `adapt` does.
    """
    reporter = reporter or Reporter()
    require_values(recipe)
    run_dir = RunDir(Path(recipe.output or Path("runs") / name))
    run_dir.validate(recipe, resume=resume)
    run_dir.check_writable()
    splits = prepare_splits(recipe, reporter)
    model = build_trainable(recipe, splits.texts)
    targets = splits.encode_targets(model)
    tables = {"train": splits.train, "dev": splits.dev, "test": splits.test}
    hours = {part: round(_total_seconds(rows) / 3600, 3) for part, rows in tables.items()}

    reporter.info("timing a few batches and predictions ...")
    staged = StagedModule(model, recipe.augment, recipe.lora)
    augmenter = WaveformAugmenter(recipe.augment, max_samples=model.encoder.max_samples)
    dataset = TrainingDataset(splits.train, targets, augmenter, recipe.seed, joiner=UtteranceJoiner(model))
    durations = compute_utterance_durations(staged, dataset)
    contexts = [
        StageContext(number, stage, staged, dataset, durations, recipe, reporter)
        for number, stage in enumerate(recipe.stages)
    ]
    timing = _Timing(durations, contexts[0].weights, _estimate_inference_seconds(model, splits.dev, recipe))
    stages = [_estimate_stage(context, timing) for context in contexts]
    selection = timing.dev_seconds * _count_dev_evaluations(recipe, model)
    evaluation = _estimate_evaluation_seconds(recipe, splits, model, timing)
    seconds = selection + evaluation
    subsets = make_subsets(splits.train, recipe.data.group, recipe.seed)[:-1] if learning_curve else []
    points = [_estimate_subset(subset, recipe, stages, timing, selection) for subset in subsets]
    seconds += sum(point["seconds"] for point in points) + sum(stage["seconds"] for stage in stages)
    weight_bytes = sum(p.numel() * p.element_size() for p in model.network.parameters())
    stage_bytes = sum(stage.pop("bytes") for stage in stages) * (2 if points else 1)  # one subset's at a time
    estimate = {
        "hours": hours,
        "stages": stages,
        **({"learning_curve": points} if points else {}),
        "selection": {"evaluations": _count_dev_evaluations(recipe, model), "seconds": round(selection, 1)},
        "evaluation": {"seconds": round(evaluation, 1)},
        "steps": sum(entry["steps"] for entry in (*stages, *points)),
        "minutes": round(seconds / 60, 1),
        "disk_mb": round((weight_bytes + stage_bytes) / 1e6, 2),
        "cache_mb": round(sum(stage["cache_mb"] for stage in stages), 2),
        "device": model.device.type,
        "output": str(run_dir.path),
    }
    _print_estimate(estimate, reporter)
    return estimate


def _estimate_evaluation_seconds(recipe: Recipe, splits: DataSplits, model: SpeechModel, timing: _Timing) -> float:
    """Estimate the seconds of evaluation before and after training, without model selection."""
    probe_size = len(splits.sample_train_probe(recipe.seed))
    seconds = _estimate_inference_seconds(model, splits.test, recipe)
    seconds += timing.dev_seconds + timing.dev_seconds / len(splits.dev) * probe_size
    zero_shot = load_zero_shot_model(recipe)
    if zero_shot is not None:
        seconds += _estimate_inference_seconds(zero_shot, splits.dev, recipe)
        seconds += _estimate_inference_seconds(zero_shot, splits.test, recipe)
    if model.kind in DECODER_KINDS and not model.settings.pad_to_30s:
        with model.use_padding():
            seconds += _estimate_inference_seconds(model, splits.test, recipe)
    return seconds


def _estimate_stage(context: StageContext, timing: _Timing) -> dict[str, Any]:
    """Estimate the steps and seconds of a stage, and the bytes of its checkpoints and cache, from a few batches."""
    stage, staged, recipe = context.stage, context.staged, context.recipe
    staged.apply_stage(stage)
    context.dataset.copies = count_augmented_copies(recipe.cache, staged.split)
    cache = _estimate_stage_cache(estimate_cache(context), staged.split, recipe.cache)
    epochs = math.ceil(stage.epochs)
    batches = DurationBatchSampler(
        context.durations,
        max_seconds=stage.batch_seconds,
        epochs=epochs,
        seed=recipe.seed,
        plan=EpochPlan(context.weights, None if cache else context.join_plan),
    )
    counts = count_parameters(staged.model)
    trained = sum(count["trained"] for count in counts.values())
    weights = trained + sum(count["frozen"] for count in counts.values())
    num_saved = min(max(epochs, NUM_KEPT_CHECKPOINTS), MAX_KEPT_EPOCHS + 1)  # the last epochs and the best one
    return {
        "train": stage.train,
        "trained_parameters": trained,
        "steps": _count_steps(stage, len(batches)),
        "seconds": round(_estimate_training_seconds(context, batches, cache) + epochs * timing.dev_seconds, 1),
        "cache_mb": round(cache.megabytes, 2) if cache else 0.0,
        "bytes": 4 * (num_saved * weights + NUM_KEPT_CHECKPOINTS * 2 * trained),  # the optimiser has two moments
    }


def _estimate_training_seconds(
    context: StageContext, batches: DurationBatchSampler, cache: CacheEstimate | None
) -> float:
    """Estimate the seconds of a stage's training from `NUM_TIMED_BATCHES` batches after one for warm-up."""
    samples, epochs = list(batches), context.stage.epochs
    timed = [samples[index * len(samples) // (NUM_TIMED_BATCHES + 1)] for index in range(NUM_TIMED_BATCHES + 1)]
    _time_batch(context, timed[0])
    mean = np.mean([_time_batch(context, batch) for batch in timed[1:]], axis=0)
    num_encodings, num_passes = len(batches) * (cache.num_copies if cache else epochs), len(batches) * epochs
    seconds = float(mean @ [num_encodings, num_passes])
    if share := context.staged.augment.pad_to_30s:
        padded = [index._replace(padded=True) for index in timed[-1][:2]]
        # padded batches are not cached
        padded_seconds = float(_time_batch(context, padded).sum()) * len(timed[-1]) / len(padded) * num_passes
        seconds += share * (padded_seconds - seconds)
    return seconds


def _time_batch(context: StageContext, batch: Sequence[SampleIndex]) -> np.ndarray:
    """Time a training step: (2,) seconds below the split, and for the rest."""
    staged, model = context.staged, context.model
    device = model.device.type
    started = time.perf_counter()
    collated = BatchCollator(model)([context.dataset[index] for index in batch])
    inputs = Inputs(collated["features"], torch.tensor(collated["lengths"])).to(model.device)
    with torch.no_grad():
        hidden = model.encoder.forward_to(inputs, staged.split)
    _synchronise(model)
    encoded = time.perf_counter()
    with torch.autocast(device, torch.bfloat16, enabled=uses_bfloat16(context.recipe.precision, device)):
        loss = staged(lengths=hidden.lengths, labels=collated["labels"].to(device), states=hidden.states)["loss"]
    loss.backward()
    for parameter in staged.parameters():
        if parameter.requires_grad:
            parameter.grad = None
    _synchronise(model)
    return np.array([encoded - started, time.perf_counter() - encoded])


def _estimate_subset(
    subset: Subset, recipe: Recipe, stages: list[dict[str, Any]], timing: _Timing, selection: float
) -> dict[str, Any]:
    """Estimate the steps and seconds of the stages on a subset: training by its share of the audio, dev as a whole."""
    durations = [timing.durations[row] for row in subset.rows]
    weights = None if timing.weights is None else [timing.weights[row] for row in subset.rows]
    share = sum(durations) / sum(timing.durations)
    steps, seconds = 0, selection
    for stage, estimate in zip(recipe.stages, stages, strict=True):
        epochs = math.ceil(stage.epochs)
        batches = DurationBatchSampler(
            durations, max_seconds=stage.batch_seconds, epochs=epochs, seed=recipe.seed, plan=EpochPlan(weights)
        )
        steps += _count_steps(stage, len(batches))
        evaluation = epochs * timing.dev_seconds
        seconds += share * (estimate["seconds"] - evaluation) + evaluation
    return {"share": subset.share, "utterances": len(subset.rows), "steps": steps, "seconds": round(seconds, 1)}


def _count_steps(stage: StageConfig, num_batches: int) -> int:
    return math.ceil(math.ceil(num_batches / stage.gradient_accumulation) * stage.epochs)


def _count_dev_evaluations(recipe: Recipe, model: SpeechModel) -> int:
    """Count evaluations on dev in model selection: one per candidate, and one with beam search per finalist."""
    is_whisper, candidates = isinstance(model, WhisperRecogniser), recipe.candidates
    num_candidates = len(candidates.means)
    if is_whisper and not recipe.lora.rank:
        num_candidates += len(candidates.pretrained_share)
    if not is_whisper or model.settings.beam_size == 1:
        return num_candidates
    return num_candidates + min(NUM_BEAM_CANDIDATES, len(recipe.stages) + num_candidates)


def _estimate_stage_cache(estimate: CacheEstimate, split: int, cache: CacheConfig) -> CacheEstimate | None:
    """Return the estimate if the stage would use a cache; raises UserError as `adapt` with `cache.use: always`."""
    if not is_cacheable(cache, split):
        return None
    num_states = estimate.num_copies * estimate.num_utterances
    try:
        check_cache_fits(estimate, num_states, cache)
    except UserError:
        if cache.use == "always":
            raise
        return None
    return estimate if cache.use == "always" or estimate.is_worthwhile(num_states) else None


def _synchronise(model: SpeechModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _estimate_inference_seconds(model: SpeechModel, split: Dataset, recipe: Recipe) -> float:
    """Estimate the seconds of inference on a split from a few of its utterances."""
    sample = split.select(range(0, len(split), max(1, len(split) // NUM_TIMED_UTTERANCES)))
    started = time.perf_counter()
    predict_all(model, sample, batch_seconds=recipe.decoding.batch_seconds)
    return (time.perf_counter() - started) * len(split) / len(sample)


def _total_seconds(split: Dataset) -> float:
    return sum(audio.measure_duration(row) for row in split)


def _format_hours(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 0.1 else f"{60 * hours:.1f} min"


def _print_estimate(estimate: dict[str, Any], reporter: Reporter) -> None:
    free = shutil.disk_usage(_nearest_existing_dir(Path(estimate["output"]))).free / 1e6
    hours = ", ".join(f"{split} {_format_hours(value)}" for split, value in estimate["hours"].items())
    reporter.info(f"\naudio   {hours}")
    for number, stage in enumerate(estimate["stages"]):
        reporter.info(
            f"stage {number} ({', '.join(stage['train'])}): {stage['steps']:,} steps, "
            f"{stage['trained_parameters']:,} parameters, about {stage['seconds'] / 60:.1f} min"
        )
    for point in estimate.get("learning_curve", ()):
        reporter.info(
            f"{point['share']:.0%} of train: {point['utterances']:,} utterances, {point['steps']:,} steps, "
            f"about {point['seconds'] / 60:.1f} min"
        )
    selection, evaluation = estimate["selection"], estimate["evaluation"]
    reporter.info(
        f"model selection: {selection['evaluations']} evaluations on dev, about {selection['seconds'] / 60:.1f} min"
    )
    reporter.info(f"evaluation of both models: about {evaluation['seconds'] / 60:.1f} min")
    total = f"{estimate['steps']:,} steps, about {estimate['minutes']:.3g} min on {estimate['device']}"
    reporter.info(f"total   {total}")
    reporter.info(f"disk    {estimate['disk_mb']:,.0f} MB in {estimate['output']} ({free:,.0f} MB free)")
    if estimate["cache_mb"]:
        reporter.info(f"cache   {estimate['cache_mb']:,.0f} MB in {get_frames_dir()}")
    if estimate["disk_mb"] > free:
        raise UserError(
            "the run does not fit on the disk", where=estimate["output"], fix="free disk space, or set output=DIR"
        )


def _nearest_existing_dir(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _nearest_existing_dir(path.parent)
