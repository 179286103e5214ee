"""A recipe's stages in turn: each starts from the last one's best epoch, or is taken up where it stopped."""

from __future__ import annotations

import json
import time
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
from speechxfer.adaptation.run_dir import RunDir, translate_os_errors
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.checkpoints import list_epoch_weights
from speechxfer.adaptation.training.staged_module import StagedModule, count_parameters
from speechxfer.adaptation.training.trainer import read_epoch_history, train_stage, uses_bfloat16
from speechxfer.config import Recipe
from speechxfer.config.recipe import StageConfig
from speechxfer.data import audio
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.report.progress import Reporter

STAGE_DONE_FILE = "stage_done.json"  # in a stage's folder once it has ended: what `--resume` skips


def train_stages(
    trainee: StagedModule, utterances: TrainingDataset, judge: Evaluator, folder: RunDir, *, resume: bool
) -> list[dict[str, Any]]:
    """Train every stage of the judge's recipe; the trainee ends with the weights of the last one's best epoch.

    Returns the report's entry of each: `train`, `epochs` (of `{"epoch", "dev"}`), `dev` (the least of those), `best`
    (its checkpoint), `seconds` (in them `encoding_seconds`, before the first epoch, of frames that are `cached`),
    `trained_parameters`, `parameters` by part of the model.
    """
    if judge.recipe.head.is_new_ctc and isinstance(trainee.model, CtcRecogniser):
        trainee.model.standardise_frames(
            audio.load_waveform(row) for row in judge.splits.sample_train_probe(judge.recipe.seed)
        )
    seconds = compute_utterance_durations(trainee, utterances)
    return [
        _train_or_resume_stage(number, stage, trainee, utterances, seconds, judge, folder, resume)
        for number, stage in enumerate(judge.recipe.stages)
    ]


def validate_stages(trainee: StagedModule, utterances: TrainingDataset, recipe: Recipe) -> None:
    """Raise UserError for what a stage would stop at, before there is work that could be lost."""
    seconds = compute_utterance_durations(trainee, utterances)
    for stage in recipe.stages:
        trainee.apply_stage(stage)
        utterances.copies = count_augmented_copies(recipe.cache, trainee.split)
        validate_cache_budget(stage, trainee.split, trainee.model, utterances, seconds, recipe.cache)


def compute_utterance_durations(trainee: StagedModule, utterances: TrainingDataset) -> list[float]:
    """By which utterances are batched: each one's length with the silence around it."""
    around = 2 * trainee.model.encoder.pad_silence
    return [audio.measure_duration(row) + around for row in utterances.utterances]


def find_stage_checkpoint(folder: RunDir, number: int, entry: dict[str, Any]) -> Path:
    """Where the best weights of stage `number` lie."""
    return folder.checkpoints / f"stage-{number}" / entry["best"]


def list_last_epoch_weights(folder: RunDir, number: int) -> list[Path]:
    """The folders that hold the weights of stage `number`'s last epochs, oldest first."""
    return list_epoch_weights(folder.checkpoints / f"stage-{number}")


def _train_or_resume_stage(
    number: int,
    stage: StageConfig,
    trainee: StagedModule,
    utterances: TrainingDataset,
    seconds: list[float],
    judge: Evaluator,
    folder: RunDir,
    resume: bool,
) -> dict[str, Any]:
    narrator = judge.reporter
    trainee.apply_stage(stage)
    counts = count_parameters(trainee.model)
    title = f"stage {number} ({', '.join(stage.train)})"
    narrator.info(f"{title}: {_format_counts(counts)}")
    place = folder.checkpoints / f"stage-{number}"
    if distributed.run_on_main(lambda: resume and (place / STAGE_DONE_FILE).is_file()):
        entry = json.loads((place / STAGE_DONE_FILE).read_text(encoding="utf-8"))
        trainee.load_checkpoint(find_stage_checkpoint(folder, number, entry))
        narrator.info(f"{title}: done before, best dev {entry['dev']:.1%}")
        return entry
    began = time.perf_counter()
    utterances.copies = count_augmented_copies(judge.recipe.cache, trainee.split)
    drawn = cache_features(
        stage, trainee.split, trainee.model, utterances, seconds, judge.recipe, narrator, f"stage {number}"
    )
    encoding = time.perf_counter() - began

    def dev() -> float:
        with cache_eval_features(trainee.model, drawn):
            return judge.evaluate_dev(trainee.model, f"{title}, dev")

    begins = stage if number == 0 and judge.recipe.head.is_new_ctc else None
    with narrator.progress(title) as progress, translate_os_errors(folder.path):
        epochs, best, took = train_stage(
            trainee,
            stage,
            drawn,
            seconds,
            measure=dev,
            folder=place,
            logs=folder.logs / f"stage-{number}",
            seed=judge.recipe.seed + number,
            resume=resume,
            callbacks=[_ProgressCallback(progress, narrator, title, judge.splits.metric, begins)],
            say=narrator.info,
            precision=judge.recipe.precision,
            spent=encoding,
        )
        entry = {
            "train": stage.train,
            "epochs": epochs,
            "dev": min(epoch["dev"] for epoch in epochs),
            "best": best,
            "seconds": took,
            "encoding_seconds": round(encoding, 1),
            "cached": isinstance(drawn, CachedDataset),
            "bfloat16": uses_bfloat16(judge.recipe.precision, trainee.model.device.type),
            "trained_parameters": sum(count["trained"] for count in counts.values()),
            "parameters": counts,
        }
        if distributed.get_rank() == 0:
            scratch = place / f".{STAGE_DONE_FILE}.part"  # whatever happens meanwhile, there is never half of it
            scratch.write_text(json.dumps(entry), encoding="utf-8")
            scratch.rename(place / STAGE_DONE_FILE)
    return entry


class _ProgressCallback(TrainerCallback):
    """Moves the bar at every step, and says each epoch's dev measure as it is known.

    begins: the stage, where a new CTC head begins in it: that it learns nothing is said as soon as it can be known.
    """

    def __init__(self, progress: Any, narrator: Reporter, title: str, measure: str, begins: StageConfig | None) -> None:
        self.progress, self.narrator, self.title, self.measure, self.begins = progress, narrator, title, measure, begins
        self.loss = float("nan")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress(state.global_step, state.max_steps)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log = True  # the loss up to here, however short the epoch

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.loss = (logs or {}).get("loss", self.loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        error = kwargs["metrics"]["eval_error"]
        self.narrator.info(f"{self.title}: epoch {state.epoch:g}, loss {self.loss:.3f}, dev {self.measure} {error:.1%}")
        devs = [epoch["dev"] for epoch in read_epoch_history(state)]  # those before an interruption too
        if (
            self.begins
            and len(devs) == NO_LEARNING_EPOCHS
            and (said := diagnose_head_not_learning(self.begins.train, devs))
        ):
            self.narrator.info(f"hint: {said}. Ctrl-C stops here")


def _format_counts(counts: dict[str, dict[str, int]]) -> str:
    trained = sum(count["trained"] for count in counts.values())
    frozen = sum(count["frozen"] for count in counts.values())
    parts = [f"{part} {count['trained']:,}" for part, count in counts.items() if count["trained"]]
    still = [part for part, count in counts.items() if not count["trained"]]
    return f"{trained:,} parameters train ({', '.join(parts)}); {frozen:,} are frozen ({', '.join(still)})"
