"""Training stages: each starts from the previous stage's best checkpoint, or resumes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from speechxfer import distributed
from speechxfer.adaptation.cache.feature_cache import (
    CachedDataset,
    cache_eval_features,
    cache_features,
    count_augmented_copies,
    validate_cache_budget,
)
from speechxfer.adaptation.diagnostics import NO_LEARNING_EPOCHS, diagnose_head_not_learning
from speechxfer.adaptation.run_dir import STAGE_DONE_FILE, RunDir, translate_os_errors
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.checkpoints import find_damage, list_epoch_weights, remove_checkpoints
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.lengths import measure_training_lengths
from speechxfer.adaptation.training.staged_module import StagedModule, count_parameters
from speechxfer.adaptation.training.trainer import StageResult, read_epoch_history, train_stage, uses_bfloat16
from speechxfer.atomic import write_text_atomically
from speechxfer.config import Recipe
from speechxfer.data import audio
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.progress import ProgressCallback
from speechxfer.report.progress import Reporter

ParameterCounts = dict[str, dict[str, int]]


def train_stages(
    staged: StagedModule, dataset: TrainingDataset, evaluator: Evaluator, run_dir: RunDir, *, resume: bool
) -> list[dict[str, Any]]:
    """Train all stages of the evaluator's recipe; `staged` ends with the weights of the last stage's best epoch.

    Returns:
        The report's entry of each stage: `train`, `epochs` (list of `{"epoch", "dev"}`), `dev` (the lowest error rate),
        `best` (its checkpoint), `seconds`, `encoding_seconds` (the part of it before the first epoch, if features are
        `cached`), `trained_parameters`, and `parameters` by part of the model.
    """
    recipe = evaluator.recipe
    if recipe.head.is_new_ctc and isinstance(staged.model, CtcRecogniser):
        staged.model.standardise_frames(
            audio.load_waveform(row) for row in evaluator.splits.sample_train_probe(recipe.seed)
        )
    contexts = _make_contexts(staged, dataset, recipe, evaluator.reporter, run_dir)
    staged.model.settings.training = measure_training_lengths(contexts[-1], evaluator.splits.texts)
    return [_train_or_resume(context, evaluator, resume=resume) for context in contexts]


def validate_stages(staged: StagedModule, dataset: TrainingDataset, recipe: Recipe) -> None:
    """Check that every stage can be trained, before there is work that could be lost.

    Raises:
        UserError: as `StagedModule.apply_stage` and `validate_cache_budget` do.
    """
    for context in _make_contexts(staged, dataset, recipe, Reporter(quiet=True), None):
        staged.apply_stage(context.stage)
        dataset.copies = count_augmented_copies(recipe.cache, staged.split)
        validate_cache_budget(context)


def compute_utterance_durations(staged: StagedModule, dataset: TrainingDataset) -> list[float]:
    """Return each utterance's length in seconds with the silence around it, for forming batches."""
    padding = 2 * staged.model.encoder.pad_silence
    return [audio.measure_duration(row) + padding for row in dataset.utterances]


def find_stage_checkpoint(run_dir: RunDir, number: int, entry: dict[str, Any]) -> Path:
    """Return the checkpoint with the best weights of stage `number`."""
    return run_dir.checkpoints / f"stage-{number}" / entry["best"]


def list_last_epoch_weights(run_dir: RunDir, number: int) -> list[Path]:
    """List the directories with the weights of stage `number`'s last epochs, oldest first."""
    return list_epoch_weights(run_dir.checkpoints / f"stage-{number}")


def _make_contexts(
    staged: StagedModule, dataset: TrainingDataset, recipe: Recipe, reporter: Reporter, run_dir: RunDir | None
) -> list[StageContext]:
    durations = compute_utterance_durations(staged, dataset)
    return [
        StageContext(number, stage, staged, dataset, durations, recipe, reporter, run_dir)
        for number, stage in enumerate(recipe.stages)
    ]


def _train_or_resume(context: StageContext, evaluator: Evaluator, *, resume: bool) -> dict[str, Any]:
    """Train a stage unless a resumed run has finished it; returns the report's entry."""
    staged, reporter, done_file = context.staged, context.reporter, context.stage_dir / STAGE_DONE_FILE
    staged.apply_stage(context.stage)
    counts = count_parameters(staged.model)
    reporter.info(f"{context.title}: {_format_counts(counts)}")
    entry = distributed.run_on_main(lambda: _read_finished_entry(context) if resume else None)
    if entry is not None:
        staged.load_checkpoint(context.stage_dir / entry["best"])
        reporter.info(f"{context.title}: already done, best dev {evaluator.show_dev(entry['dev'])}")
        return entry
    started = time.perf_counter()
    context.dataset.copies = count_augmented_copies(context.recipe.cache, staged.split)
    dataset = cache_features(context)
    encoding = time.perf_counter() - started

    def measure_dev() -> float:
        with cache_eval_features(staged.model, dataset):
            return evaluator.evaluate_dev(staged.model, f"{context.title}, dev")

    assert context.run_dir is not None
    with reporter.progress(context.title) as progress, translate_os_errors(context.run_dir.path):
        callback = _ProgressCallback(context, progress, evaluator.show_dev)
        result = train_stage(context, dataset, measure=measure_dev, callbacks=[callback], resume=resume, spent=encoding)
        entry = _make_entry(context, result, counts, encoding, is_cached=isinstance(dataset, CachedDataset))
        if distributed.get_rank() == 0:
            write_text_atomically(done_file, json.dumps(entry))
    return entry


def _read_finished_entry(context: StageContext) -> dict[str, Any] | None:
    """Return the report's entry of a stage that an earlier run finished; `None` if it is to be trained.

    A stage whose kept weights are damaged is trained from its start: the damaged epochs cannot be made again otherwise.
    """
    stage_dir, log = context.stage_dir, context.reporter.info
    if not (stage_dir / STAGE_DONE_FILE).is_file():
        return None
    try:
        entry = json.loads((stage_dir / STAGE_DONE_FILE).read_text(encoding="utf-8"))
        weights = [stage_dir / entry["best"], *list_epoch_weights(stage_dir)]
    except (OSError, ValueError, KeyError, TypeError):
        log(f"{context.title}: {stage_dir / STAGE_DONE_FILE} is damaged: the stage continues from its last checkpoint")
        return None
    for folder in weights:
        if problem := find_damage(folder):
            log(f"{context.title}: {folder} is damaged ({problem}): the stage is trained again")
            remove_checkpoints(stage_dir)
            return None
    return entry


def _make_entry(
    context: StageContext, result: StageResult, counts: ParameterCounts, encoding: float, *, is_cached: bool
) -> dict[str, Any]:
    return {
        "train": context.stage.train,
        "epochs": result.epochs,
        "dev": min(epoch["dev"] for epoch in result.epochs),
        "best": result.best,
        "seconds": result.seconds,
        "encoding_seconds": round(encoding, 1),
        "cached": is_cached,
        "bfloat16": uses_bfloat16(context.recipe.precision, context.model.device.type),
        "trained_parameters": sum(count["trained"] for count in counts.values()),
        "parameters": counts,
    }


class _ProgressCallback(TrainerCallback):
    """Updates the progress bar at every step and logs each epoch's result on dev.

    In the stage in which a CTC head is new, also logs as early as possible that the head does not learn.
    """

    def __init__(self, context: StageContext, progress: ProgressCallback, show: Callable[[float], str]) -> None:
        self.context, self.progress, self.show = context, progress, show
        self.has_new_head = context.number == 0 and context.recipe.head.is_new_ctc
        self.loss = float("nan")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress(state.global_step, state.max_steps)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log = True  # logs the loss however short the epoch is

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.loss = (logs or {}).get("loss", self.loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        error, title, log = kwargs["metrics"]["eval_error"], self.context.title, self.context.reporter.info
        log(f"{title}: epoch {state.epoch:g}, loss {self.loss:.3f}, dev {self.show(error)}")
        dev_rates = [epoch["dev"] for epoch in read_epoch_history(state)]  # with those before an interruption
        if not self.has_new_head or len(dev_rates) != NO_LEARNING_EPOCHS:
            return
        if action := diagnose_head_not_learning(self.context.stage.train, dev_rates):
            log(f"hint: {action}. Ctrl-C stops here")


def _format_counts(counts: ParameterCounts) -> str:
    trained = sum(count["trained"] for count in counts.values())
    frozen = sum(count["frozen"] for count in counts.values())
    trained_parts = [f"{part} {count['trained']:,}" for part, count in counts.items() if count["trained"]]
    frozen_parts = [part for part, count in counts.items() if not count["trained"]]
    return (
        f"{trained:,} parameters are trained ({', '.join(trained_parts)}); "
        f"{frozen:,} are frozen ({', '.join(frozen_parts)})"
    )
