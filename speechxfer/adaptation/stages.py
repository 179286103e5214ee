"""A recipe's stages in turn: each starts from the last one's best epoch, or is taken up where it stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from speechxfer import processes
from speechxfer.adaptation.advice import STUCK_EPOCHS, when_stuck
from speechxfer.adaptation.batches import TrainingUtterances
from speechxfer.adaptation.caching import (
    CachedUtterances,
    copies_of,
    from_cache,
    refuse_what_cannot_be_kept,
    remembering,
)
from speechxfer.adaptation.checkpoints import weights_kept
from speechxfer.adaptation.folder import RunFolder, disk_errors
from speechxfer.adaptation.judge import Judge
from speechxfer.adaptation.trainee import Trainee, parameter_counts
from speechxfer.adaptation.trainer import epochs_of, in_bfloat16, train_stage
from speechxfer.config import Recipe
from speechxfer.config.recipe import Stage
from speechxfer.data import audio
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.report.progress import Narrator

DONE = "stage_done.json"  # in a stage's folder once it has ended: what `--resume` skips


def train_stages(
    trainee: Trainee, utterances: TrainingUtterances, judge: Judge, folder: RunFolder, *, resume: bool
) -> list[dict[str, Any]]:
    """Train every stage of the judge's recipe; the trainee ends with the weights of the last one's best epoch.

    Returns the report's entry of each: `train`, `epochs` (of `{"epoch", "dev"}`), `dev` (the least of those), `best`
    (its checkpoint), `seconds` (in them `encoding_seconds`, before the first epoch, of frames that are `cached`),
    `trained_parameters`, `parameters` by part of the model.
    """
    if judge.recipe.head.new_ctc and isinstance(trainee.model, CtcRecogniser):
        trainee.model.standardise(audio.load(row) for row in judge.material.some_of_train(judge.recipe.seed))
    seconds = training_seconds(trainee, utterances)
    return [
        _stage(number, stage, trainee, utterances, seconds, judge, folder, resume)
        for number, stage in enumerate(judge.recipe.stages)
    ]


def can_begin(trainee: Trainee, utterances: TrainingUtterances, recipe: Recipe) -> None:
    """Raise UserError for what a stage would stop at, before there is work that could be lost."""
    seconds = training_seconds(trainee, utterances)
    for stage in recipe.stages:
        trainee.begin(stage)
        utterances.copies = copies_of(recipe.cache, trainee.split)
        refuse_what_cannot_be_kept(stage, trainee.split, trainee.model, utterances, seconds, recipe.cache)


def training_seconds(trainee: Trainee, utterances: TrainingUtterances) -> list[float]:
    """By which utterances are batched: each one's length with the silence around it."""
    around = 2 * trainee.model.encoder.silence
    return [audio.seconds(row) + around for row in utterances.utterances]


def checkpoint_of(folder: RunFolder, number: int, entry: dict[str, Any]) -> Path:
    """Where the best weights of stage `number` lie."""
    return folder.checkpoints / f"stage-{number}" / entry["best"]


def late_weights(folder: RunFolder, number: int) -> list[Path]:
    """The folders that hold the weights of stage `number`'s last epochs, oldest first."""
    return weights_kept(folder.checkpoints / f"stage-{number}")


def _stage(
    number: int,
    stage: Stage,
    trainee: Trainee,
    utterances: TrainingUtterances,
    seconds: list[float],
    judge: Judge,
    folder: RunFolder,
    resume: bool,
) -> dict[str, Any]:
    narrator = judge.narrator
    trainee.begin(stage)
    counts = parameter_counts(trainee.model)
    title = f"stage {number} ({', '.join(stage.train)})"
    narrator.say(f"{title}: {_counted(counts)}")
    place = folder.checkpoints / f"stage-{number}"
    if processes.by_main(lambda: resume and (place / DONE).is_file()):
        entry = json.loads((place / DONE).read_text(encoding="utf-8"))
        trainee.restore(checkpoint_of(folder, number, entry))
        narrator.say(f"{title}: done before, best dev {entry['dev']:.1%}")
        return entry
    began = time.perf_counter()
    utterances.copies = copies_of(judge.recipe.cache, trainee.split)
    drawn = from_cache(
        stage, trainee.split, trainee.model, utterances, seconds, judge.recipe, narrator, f"stage {number}"
    )
    encoding = time.perf_counter() - began

    def dev() -> float:
        with remembering(trainee.model, drawn):
            return judge.dev(trainee.model, f"{title}, dev")

    begins = stage if number == 0 and judge.recipe.head.new_ctc else None
    with narrator.bar(title) as progress, disk_errors(folder.path):
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
            callbacks=[_Telling(progress, narrator, title, judge.material.measure, begins)],
            say=narrator.say,
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
            "cached": isinstance(drawn, CachedUtterances),
            "bfloat16": in_bfloat16(judge.recipe.precision, trainee.model.device.type),
            "trained_parameters": sum(count["trained"] for count in counts.values()),
            "parameters": counts,
        }
        if processes.rank() == 0:
            scratch = place / f".{DONE}.part"  # whatever happens meanwhile, there is never half of it
            scratch.write_text(json.dumps(entry), encoding="utf-8")
            scratch.rename(place / DONE)
    return entry


class _Telling(TrainerCallback):
    """Moves the bar at every step, and says each epoch's dev measure as it is known.

    begins: the stage, where a new CTC head begins in it: that it learns nothing is said as soon as it can be known.
    """

    def __init__(self, progress: Any, narrator: Narrator, title: str, measure: str, begins: Stage | None) -> None:
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
        self.narrator.say(f"{self.title}: epoch {state.epoch:g}, loss {self.loss:.3f}, dev {self.measure} {error:.1%}")
        devs = [epoch["dev"] for epoch in epochs_of(state)]  # those before an interruption too
        if self.begins and len(devs) == STUCK_EPOCHS and (said := when_stuck(self.begins.train, devs)):
            self.narrator.say(f"hint: {said}. Ctrl-C stops here")


def _counted(counts: dict[str, dict[str, int]]) -> str:
    trained = sum(count["trained"] for count in counts.values())
    frozen = sum(count["frozen"] for count in counts.values())
    parts = [f"{part} {count['trained']:,}" for part, count in counts.items() if count["trained"]]
    still = [part for part, count in counts.items() if not count["trained"]]
    return f"{trained:,} parameters train ({', '.join(parts)}); {frozen:,} are frozen ({', '.join(still)})"
