"""A recipe in code, in the YAML's order: data, encoder, head, stages, decoding, scoring; the better model is kept."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, set_seed

from speechxfer.adapt.batches import TrainingUtterances
from speechxfer.adapt.evaluation import (
    Evaluation,
    evaluate_part,
    peak_memory_mb,
    provenance,
    score_jsonl,
    without,
    write_jsonl,
)
from speechxfer.adapt.folder import RunFolder, disk_errors
from speechxfer.adapt.material import Material, gather
from speechxfer.adapt.trainee import Trainee, parameter_counts
from speechxfer.adapt.trainer import DONE, train_stage
from speechxfer.config import Recipe, require_values
from speechxfer.config.recipe import Stage
from speechxfer.data import audio
from speechxfer.data.augment import Augment
from speechxfer.encoders.weights import find, folder_fingerprint
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel, load, to_adapt
from speechxfer.report.html import write_report
from speechxfer.report.progress import Narrator
from speechxfer.scoring import Score

UNTOUCHED = "untouched"


@dataclass
class Run:
    """What `adapt` leaves behind. before is None where the checkpoint had no head to answer with."""

    folder: RunFolder
    before: Score | None
    after: Score
    report: dict[str, Any] = field(repr=False)


@dataclass
class Candidate:
    """A model that may be kept, with its error rate on the dev part."""

    name: str
    dev: float


def adapt(recipe: Recipe, *, name: str = "run", resume: bool = False, narrator: Narrator | None = None) -> Run:
    """Train as the recipe says, keep the model only if it beats the untouched one on dev, write the run folder.

    name: of the recipe, for the default folder `runs/<name>`. resume: go on where an interrupted run stopped; a
    finished run is left as it is, and read again.
    Raises UserError before any work for every value, row or file that cannot be used, all named.
    """
    narrator = narrator or Narrator()
    require_values(recipe)
    folder = RunFolder(Path(recipe.output or Path("runs") / name))
    if resume and folder.finished:
        narrator.say(f"{folder.path} holds a finished run; nothing is left to do")
        return _finished(folder, recipe)
    began = time.perf_counter()
    set_seed(recipe.seed)

    # data
    material = gather(recipe, narrator)

    # encoder, head
    model = to_adapt(recipe, material.texts)
    targets = material.targets(model)
    folder.open(recipe, resume=resume)
    untouched = _untouched(recipe)

    # the untouched model, as its authors run it
    before: Evaluation | None = None
    candidates: list[Candidate] = []
    if untouched is not None:
        candidates.append(Candidate(UNTOUCHED, _measure(untouched, material, recipe, narrator, "untouched, dev")))
        narrator.say(f"untouched {recipe.encoder.name}: {candidates[0].dev:.1%} {material.measure} on dev")
        before = _evaluate(untouched, material.test, recipe, narrator, "untouched, test", material.reference)
        write_jsonl(folder.before, material.test, before.hypotheses, reference=material.reference)

    # stages
    trainee = Trainee(model, recipe.augment)
    longest = getattr(model.encoder, "longest", None)
    utterances = TrainingUtterances(material.train, targets, Augment(recipe.augment, longest=longest), recipe.seed)
    stages = []
    training_began = time.perf_counter()
    for number, stage in enumerate(recipe.stages):
        stages.append(_stage(number, stage, trainee, utterances, material, recipe, folder, resume, narrator))
        candidates.append(Candidate(f"stage {number}", min(entry["dev"] for entry in stages[-1]["epochs"])))
    training_seconds = time.perf_counter() - training_began

    # the better model is kept: the last stage's best epoch (each stage starts from the last one's), or the untouched
    trained = _evaluate(model, material.test, recipe, narrator, "adapted, test", material.reference)
    best = min(candidates, key=lambda candidate: candidate.dev)
    if best.name not in (UNTOUCHED, candidates[-1].name):
        number = int(best.name.removeprefix("stage "))
        trainee.restore(folder.checkpoints / f"stage-{number}" / stages[number]["best"])
        trained = _evaluate(model, material.test, recipe, narrator, "adapted, test", material.reference)
    kept, after = (model, trained) if best.name != UNTOUCHED else (untouched, before)
    assert kept is not None and after is not None
    warnings = [*material.warnings, *after.score.warnings]
    if best.name == UNTOUCHED:
        warnings.insert(
            0, f"nothing beat the untouched {recipe.encoder.name} on the dev part: model/ is the untouched one"
        )

    # what is left behind
    folder.save_model(kept)
    write_jsonl(folder.after, material.test, after.hypotheses, reference=material.reference)
    report: dict[str, Any] = {
        "before": before.score.to_json() if before else None,
        "after": after.score.to_json(),
        "kept": best.name,
        "candidates": [vars(candidate) for candidate in candidates],
        "stages": stages,
        "measure": material.measure,
        "normaliser": recipe.scoring.normaliser,
        "parts": material.stated,
        "warnings": warnings,
        "speed": {
            **after.speed,
            "training_seconds": round(training_seconds, 1),
            "total_seconds": round(time.perf_counter() - began, 1),
            "peak_memory_mb": peak_memory_mb(model.device),
        },
        "provenance": provenance(
            {
                "recipe": recipe.model_dump(mode="json"),
                "seed": recipe.seed,
                "checkpoint": folder_fingerprint(find(recipe.encoder.name)),
                "data": material.fingerprints,
            }
        ),
    }
    if best.name == UNTOUCHED:
        report["rejected"] = trained.score.to_json()
        with disk_errors(folder.path):
            model.save(folder.checkpoints / "rejected")  # for whoever wants this head all the same
    elif model.kind == "seq2seq" and not model.settings.pad_to_30s:
        with model.padded():  # as plain transformers and faster-whisper will run it
            padded = _evaluate(model, material.test, recipe, narrator, "adapted, padded to 30 s", material.reference)
        report["after_padded_to_30s"] = padded.score.to_json()
    systems = {**({"before": before.score} if before else {}), "after": after.score}
    paths = (
        dict(zip(material.test["id"], material.test["path"], strict=True))
        if "path" in material.test.column_names
        else {}
    )
    write_report(
        folder.html,
        f"{name}: {recipe.encoder.name}",
        systems,
        facts=_facts(recipe, report),
        warnings=warnings,
        audio=paths,
    )
    folder.write_report(report)
    return Run(folder, before.score if before else None, after.score, report)


def _finished(folder: RunFolder, recipe: Recipe) -> Run:
    """A run that ended earlier, its scores made again from what it wrote."""
    report = folder.report()
    before = score_jsonl(folder.before, recipe.scoring) if folder.before.is_file() else None
    return Run(folder, before, score_jsonl(folder.after, recipe.scoring), report)


def _untouched(recipe: Recipe) -> SpeechModel | None:
    """The checkpoint as its authors run it; None where it has no head that could answer the same question."""
    try:
        untouched = load(recipe.encoder.name, device=recipe.device, language=recipe.encoder.language)
    except UserError:
        if recipe.head.kind == "seq2seq":
            raise
        return None
    answers_in_text = untouched.kind != "classify"
    return untouched if answers_in_text == (recipe.head.kind != "classify") else None


def _evaluate(
    model: SpeechModel, part: Dataset, recipe: Recipe, narrator: Narrator, title: str, reference: str
) -> Evaluation:
    with narrator.bar(title) as progress:
        return evaluate_part(
            model,
            part,
            recipe.scoring,
            reference=reference,
            batch_seconds=recipe.decoding.batch_seconds,
            progress=progress,
        )


def _measure(model: SpeechModel, material: Material, recipe: Recipe, narrator: Narrator, title: str) -> float:
    """The dev part's error rate, greedy, which is what every candidate is compared by."""
    beams, model.settings.beams = model.settings.beams, 1
    try:
        score = _evaluate(model, material.dev, recipe, narrator, title, material.reference).score
    finally:
        model.settings.beams = beams
    return float("inf") if score.wer is None else score.wer


def _stage(
    number: int,
    stage: Stage,
    trainee: Trainee,
    utterances: TrainingUtterances,
    material: Material,
    recipe: Recipe,
    folder: RunFolder,
    resume: bool,
    narrator: Narrator,
) -> dict[str, Any]:
    """Train stage `number`, or take up its result where a resumed run has it already; its line of the report."""
    trainee.begin(stage)
    counts = parameter_counts(trainee.model)
    title = f"stage {number} ({', '.join(stage.train)})"
    narrator.say(f"{title}: " + _counted(counts))
    place = folder.checkpoints / f"stage-{number}"
    done = place / DONE
    if resume and done.is_file():
        entry = json.loads(done.read_text(encoding="utf-8"))
        trainee.restore(place / entry["best"])
        narrator.say(f"{title}: done before, best dev {min(e['dev'] for e in entry['epochs']):.1%}")
        return entry

    def measure() -> float:
        return _measure(trainee.model, material, recipe, narrator, f"{title}, dev")

    began = time.perf_counter()
    with narrator.bar(title) as progress, disk_errors(folder.path):
        epochs, best = train_stage(
            trainee,
            stage,
            utterances,
            [audio.seconds(row) for row in without(material.train, "text")],
            measure=measure,
            folder=place,
            logs=folder.logs / f"stage-{number}",
            seed=recipe.seed + number,
            resume=resume,
            callbacks=[_Telling(progress, narrator, title, material.measure)],
            say=narrator.say,
        )
        seconds = time.perf_counter() - began
        trained = sum(count["trained"] for count in counts.values())
        entry = {
            "train": stage.train,
            "epochs": epochs,
            "best": best,
            "seconds": round(seconds, 1),
            "trained_parameters": trained,
            "parameters": counts,
        }
        done.write_text(json.dumps(entry), encoding="utf-8")
    return entry


class _Telling(TrainerCallback):
    """Moves the bar at every step, and says each epoch's dev measure as it is known."""

    def __init__(self, progress: Any, narrator: Narrator, title: str, measure: str) -> None:
        self.progress, self.narrator, self.title, self.measure = progress, narrator, title, measure
        self.loss = float("nan")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.loss = (logs or {}).get("loss", self.loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        error = kwargs["metrics"]["eval_error"]
        self.narrator.say(f"{self.title}: epoch {state.epoch:g}, loss {self.loss:.3f}, dev {self.measure} {error:.1%}")


def _counted(counts: dict[str, dict[str, int]]) -> str:
    trained = sum(count["trained"] for count in counts.values())
    frozen = sum(count["frozen"] for count in counts.values())
    parts = [f"{part} {count['trained']:,}" for part, count in counts.items() if count["trained"]]
    still = [part for part, count in counts.items() if not count["trained"]]
    return f"{trained:,} parameters train ({', '.join(parts)}); {frozen:,} are frozen ({', '.join(still)})"


def _facts(recipe: Recipe, report: dict[str, Any]) -> dict[str, str]:
    return {
        "encoder": recipe.encoder.name,
        "head": recipe.head.kind,
        "kept": report["kept"],
        "normaliser": recipe.scoring.normaliser,
        "training": f"{report['speed']['training_seconds']:.0f} s on {report['speed']['device']}",
        "seed": str(recipe.seed),
    }
