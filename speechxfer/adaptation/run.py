"""A recipe in code, in the YAML's order: data, encoder, head, stages, decoding, scoring; the better model is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import set_seed

from speechxfer import processes
from speechxfer.adaptation import lora
from speechxfer.adaptation.advice import UNTOUCHED, advise
from speechxfer.adaptation.batches import TrainingUtterances
from speechxfer.adaptation.candidates import Candidate, choose_weights
from speechxfer.adaptation.evaluation import (
    Evaluation,
    in_short,
    of_forgetting,
    of_insertions,
    peak_memory_mb,
    played,
    provenance,
    score_jsonl,
    write_jsonl,
)
from speechxfer.adaptation.folder import RunFolder, disk_errors
from speechxfer.adaptation.judge import Judge
from speechxfer.adaptation.learning_curve import portions, train_portions
from speechxfer.adaptation.material import gather
from speechxfer.adaptation.rescoring import choose_rescoring
from speechxfer.adaptation.stages import can_begin, train_stages
from speechxfer.adaptation.trainee import Trainee
from speechxfer.adaptation.tuning import choose_search
from speechxfer.config import Recipe, load_recipe, require_values
from speechxfer.data.augment import Augment
from speechxfer.encoders.weights import find, folder_fingerprint
from speechxfer.errors import UserError
from speechxfer.models import WITH_DECODER, SpeechModel, load, to_adapt
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.models.joint import JointRecogniser
from speechxfer.report.html import write_report
from speechxfer.report.progress import Narrator
from speechxfer.report.run_facts import run_facts
from speechxfer.scoring import Score

UNTOUCHED_DEV = f"{UNTOUCHED}, dev"  # what the judge calls it


@dataclass
class Run:
    """What `adapt` leaves behind. before is None where the checkpoint had no head to answer with."""

    folder: RunFolder
    before: Score | None
    after: Score
    report: dict[str, Any] = field(repr=False)


def adapt(
    recipe: Recipe | str | Path | dict[str, Any],
    *overrides: str,
    name: str | None = None,
    resume: bool = False,
    learning_curve: bool = False,
    narrator: Narrator | None = None,
) -> Run:
    """Train as the recipe says, keep the model only if it beats the untouched one on dev, write the run folder.

    recipe: a shipped recipe's name, a path, a mapping, or one that is checked already. overrides: as on the command
    line, "data.train=train.csv". name: for the default folder `runs/<name>`; else the recipe's own. resume: go on where
    an interrupted run stopped; a finished run is left as it is, and read again. learning_curve: train on a quarter and
    on half of the training part too, to see what more speech would bring. Where a launcher has started several
    processes (torchrun), each calls this, and at its very end `speechxfer.processes.end`.
    Raises UserError before any work for every value, row or file that cannot be used, all named.
    """
    narrator = narrator or Narrator()
    if not isinstance(recipe, Recipe):
        name = name or (Path(recipe).stem if isinstance(recipe, str | Path) else None)
        recipe = load_recipe(recipe, overrides)
    elif overrides:
        raise TypeError("overrides are for a recipe that is not checked yet: give them to load_recipe")
    name = name or "run"
    require_values(recipe)
    processes.begin(recipe.device)
    if processes.rank() > 0:
        narrator = Narrator(quiet=True)
    folder = RunFolder(Path(recipe.output or Path("runs") / name))
    folder.check(recipe, resume=resume)
    if resume and folder.finished and not (learning_curve and "learning_curve" not in folder.report()):
        narrator.say(f"{folder.path} holds a finished run; nothing is left to do")
        return _finished(folder, recipe)
    try:
        return _adapt(recipe, name, folder, narrator, resume=resume, learning_curve=learning_curve)
    finally:
        folder.close()


def _adapt(
    recipe: Recipe, name: str, folder: RunFolder, narrator: Narrator, *, resume: bool, learning_curve: bool
) -> Run:
    began = time.perf_counter()
    set_seed(recipe.seed)

    # data
    material = gather(recipe, narrator)
    sizes = portions(material.train, recipe.data.group, recipe.seed) if learning_curve else []

    # encoder, head, and whether every stage can begin
    model = to_adapt(recipe, material.texts)
    targets = material.targets(model)
    trainee = Trainee(model, recipe.augment, recipe.lora)
    augment = Augment(recipe.augment, longest=model.encoder.longest)
    utterances = TrainingUtterances(material.train, targets, augment, recipe.seed)
    can_begin(trainee, utterances, recipe)
    untouched = untouched_model(recipe, narrator)
    if resume and not folder.begun:
        narrator.say(f"{folder.path} holds no run to go on with: this one begins")
    processes.wait()  # until each has looked at the folder as it was
    checkpoint = folder_fingerprint(find(recipe.encoder.name))
    sources = {"encoder.name": checkpoint, **{f"data.{part}": of for part, of in material.fingerprints.items()}}
    processes.by_main(lambda: folder.open(recipe, sources, resume=resume))

    # the untouched model comes first, as its authors run it
    judge = Judge(recipe, material, narrator, untouched)
    before: Evaluation | None = None
    candidates: list[Candidate] = []
    if untouched is not None:
        candidates.append(Candidate(UNTOUCHED, judge.dev(untouched, UNTOUCHED_DEV)))
        narrator.say(f"untouched {recipe.encoder.name}: {candidates[0].dev:.1%} {material.measure} on dev")
        if untouched.settings.beams > 1:  # adapted here before, and saved with its search
            candidates[0].dev_beam = judge.dev_by_beam(untouched, "untouched, dev by beam")
        before = judge.test(untouched, "untouched, test")
        if processes.rank() == 0:
            with disk_errors(folder.path):
                write_jsonl(folder.before, material.test, before.hypotheses, reference=material.reference)

    # stages
    training_began = time.perf_counter()
    stages = train_stages(trainee, utterances, judge, folder, resume=resume)
    training_now = time.perf_counter() - training_began
    training_seconds = sum(stage["seconds"] for stage in stages)  # those of a run that is resumed too
    curve = train_portions(sizes[:-1], targets, judge, folder, untouched, resume=resume)

    # the best weights on dev must beat the untouched model's
    chosen, *others = choose_weights(trainee, stages, folder, judge, untouched)
    curve += [size.point(chosen.dev) for size in sizes[-1:]]
    on_dev = judge.greedy(model, material.dev, "chosen, dev")
    seen = judge.greedy(model, material.some_of_train(recipe.seed), "chosen, some of train")
    if trainee.lora:
        lora.merge(model)
    weighed = choose_rescoring(model, judge, chosen.dev) if isinstance(model, JointRecogniser) else None
    if weighed:
        chosen = replace(chosen, dev_beam=weighed["dev"])  # as it will decode
    searched = choose_search(model, judge) if isinstance(model, CtcRecogniser) else None
    if searched and model.settings.beams > 1:
        chosen = Candidate(f"{chosen.name}, beam", searched["dev"])
    trained = judge.test(model, "adapted, test")
    beaten = not candidates or chosen.as_used < candidates[0].as_used
    candidates += [chosen, *others]
    kept, after = (model, trained) if beaten else (untouched, before)
    assert kept is not None and after is not None

    # and what the adapted one has forgotten
    heard = judge.other(untouched, "untouched, other speech") if untouched is not None else None
    forgetting = {"before": heard, "after": judge.other(kept, "adapted, other speech") if beaten else heard}

    # as plain transformers and faster-whisper will run it
    padded: Evaluation | None = None
    if beaten and model.kind in WITH_DECODER and not model.settings.pad_to_30s:
        with model.padded():
            padded = judge.test(model, "adapted, padded to 30 s")

    # what is left behind
    if processes.rank() > 0:
        processes.wait()  # until the main one has written it
        return _finished(folder, recipe)
    folder.save_model(kept)
    report: dict[str, Any] = {
        "before": before.score.to_json() if before else None,
        "after": after.score.to_json(),
        "kept": chosen.name if beaten else UNTOUCHED,
        "candidates": [vars(candidate) for candidate in candidates],
        "stages": stages,
        **({"rescoring": weighed} if weighed else {}),
        **({"search": searched} if searched else {}),
        **({"learning_curve": curve} if curve else {}),
        "dev": in_short(on_dev, judge.scores.get(UNTOUCHED_DEV)),
        "seen": in_short(seen),
        "measure": material.measure,
        "normaliser": "none" if model.kind == "classify" else recipe.scoring.normaliser,
        "parts": material.stated,
        "warnings": [
            *material.warnings,
            *(of_insertions(f"the untouched {recipe.encoder.name}", before.score) if before else []),
            *after.score.warnings,
            *of_forgetting(**forgetting),
        ],
    }
    if forgetting["after"] is not None:
        report["forgetting"] = {
            side: measured.score.to_json() for side, measured in forgetting.items() if measured is not None
        }
    if kept is untouched:
        unbeaten = f"nothing beat the untouched {recipe.encoder.name} on the dev part: model/ is the untouched one"
        report["warnings"].insert(0, unbeaten)
        report["rejected"] = trained.score.to_json()
        with disk_errors(folder.path):
            model.save(folder.checkpoints / "rejected")  # for whoever wants this head all the same
    if padded is not None:
        report["after_padded_to_30s"] = padded.score.to_json()
    report["speed"] = {
        **after.speed,
        "training_seconds": round(training_seconds, 1),
        "total_seconds": round(
            time.perf_counter() - began - training_now + training_seconds + judge.read_seconds, 1
        ),  # as if nothing had been kept: neither by a run that is resumed nor of the untouched model
        "peak_memory_mb": peak_memory_mb(model.device),
    }
    report["provenance"] = provenance(
        {
            "recipe": recipe.model_dump(mode="json"),
            "seed": recipe.seed,
            "checkpoint": checkpoint,
            "data": material.fingerprints,
        }
    )
    report["advice"] = [vars(advice) for advice in advise(report)]
    with disk_errors(folder.path):
        write_jsonl(folder.after, material.test, after.hypotheses, reference=material.reference)
        write_report(
            folder.html,
            f"{name}: {recipe.encoder.name}",
            {**({"before": before.score} if before else {}), "after": after.score},
            facts=run_facts(report),
            warnings=report["warnings"],
            advice=report["advice"],
            curve=curve,
            audio=played(material.test),
        )
    folder.write_report(report)
    processes.wait()
    return Run(folder, before.score if before else None, after.score, report)


def untouched_model(recipe: Recipe, narrator: Narrator | None = None) -> SpeechModel | None:
    """The checkpoint as its authors run it; None (and why is said) where it cannot answer the same question."""
    try:
        # a CTranslate2 folder in torch, whose weights are trained and mixed
        untouched = load(find(recipe.encoder.name), device=recipe.device, language=recipe.encoder.language)
    except UserError as error:
        if recipe.head.kind in WITH_DECODER:
            raise
        why = error.problem
    else:
        if (untouched.kind == "classify") == (recipe.head.kind == "classify"):
            return untouched
        why = f"it is a model of kind {untouched.kind}"
    if narrator:
        narrator.say(f"untouched {recipe.encoder.name} cannot be compared with: {why}")
    return None


def _finished(folder: RunFolder, recipe: Recipe) -> Run:
    """A run that ended earlier, its scores made again from what it wrote."""
    labels = recipe.head.kind == "classify"
    before = score_jsonl(folder.before, recipe.scoring, labels=labels) if folder.before.is_file() else None
    return Run(folder, before, score_jsonl(folder.after, recipe.scoring, labels=labels), folder.report())
