"""The batch size of a stage, which is halved if GPU memory runs out, and its batches."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch.utils.data import Dataset

from speechxfer import distributed
from speechxfer.adaptation.training.batching import DurationBatchSampler, TrainingDataset
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.joining import EpochPlan
from speechxfer.config.recipe import StageConfig
from speechxfer.errors import UserError

_BATCH_SIZE_FILE = "batches.json"  # in a stage's directory, after the batch size was reduced
MIN_BATCH_SECONDS = 2.0  # the batch size is not halved below this when memory runs out


class BatchSize(NamedTuple):
    """The batch size of a stage, as configured or as reduced to fit into GPU memory."""

    batch_seconds: float
    gradient_accumulation: int


def read_batch_size(stage_dir: Path, stage: StageConfig) -> BatchSize:
    """Return the batch size of a stage, the reduced one of a resumed run."""
    path = stage_dir / _BATCH_SIZE_FILE
    if not path.is_file():
        return BatchSize(stage.batch_seconds, stage.gradient_accumulation)
    return BatchSize(**json.loads(path.read_text(encoding="utf-8")))


def halve_batch_size(size: BatchSize, message: str, stage_dir: Path, log: Callable[[str], None]) -> BatchSize:
    """Halve the seconds of a batch at the same seconds per step; stored, so that a resumed run has the same batches."""
    size = BatchSize(size.batch_seconds / 2, size.gradient_accumulation * 2)
    if size.batch_seconds < MIN_BATCH_SECONDS:
        raise UserError(
            f"out of GPU memory with the smallest batch ({message})",
            where="stages",
            fix="cut long utterances (data with start and end), train fewer layers, or set device=cpu",
        )
    batches = f"{size.batch_seconds:g} s of audio per batch, {size.gradient_accumulation} batches per step"
    log(f"out of GPU memory: continuing with {batches}")
    shutil.rmtree(stage_dir, ignore_errors=True)  # checkpoints of the larger batches
    stage_dir.mkdir(parents=True)
    (stage_dir / _BATCH_SIZE_FILE).write_text(json.dumps(size._asdict()), encoding="utf-8")
    return size


def make_batches(context: StageContext, dataset: Dataset, size: BatchSize) -> DurationBatchSampler:
    """Return the batches of a stage."""
    return DurationBatchSampler(
        context.durations,
        max_seconds=size.batch_seconds,
        epochs=math.ceil(context.stage.epochs),
        seed=context.seed,
        plan=EpochPlan(context.weights, context.join_plan if isinstance(dataset, TrainingDataset) else None),
        padded_share=context.staged.augment.pad_to_30s,
        world_size=distributed.get_world_size(),
        rank=distributed.get_rank(),
    )
