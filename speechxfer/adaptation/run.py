"""A recipe in code, in the YAML's order: data, encoder, head, stages, decoding, scoring; the better model is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import set_seed

from speechxfer import distributed
from speechxfer.adaptation.data.splits import prepare_splits
from speechxfer.adaptation.diagnostics import ZERO_SHOT, make_advice
from speechxfer.adaptation.learning_curve import make_subsets, train_subsets
from speechxfer.adaptation.predictions import (
    Evaluation,
    find_audio_links,
    get_peak_memory_mb,
    make_forgetting_warnings,
    make_insertion_warnings,
    make_provenance,
    score_predictions_file,
    summarize_score,
    write_predictions,
)
from speechxfer.adaptation.run_dir import RunDir, translate_os_errors
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.selection.lm_tuning import tune_beam_search
from speechxfer.adaptation.selection.model_selection import Candidate, select_weights
from speechxfer.adaptation.selection.rescoring_tuning import tune_rescoring
from speechxfer.adaptation.training import lora
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.adaptation.training.stages import train_stages, validate_stages
from speechxfer.config import Recipe, load_recipe, require_values
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.encoders.checkpoints import hash_model_dir, resolve_transformers_dir
from speechxfer.errors import UserError
from speechxfer.models import DECODER_KINDS, SpeechModel, build_trainable, load
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.models.joint import JointRecogniser
from speechxfer.report.html import write_html_report
from speechxfer.report.progress import Reporter
from speechxfer.report.run_summary import summarize_run
from speechxfer.scoring import Score

ZERO_SHOT_DEV = f"{ZERO_SHOT}, dev"  # what the judge calls it


@dataclass
class Run:
    """What `adapt` leaves behind. before is None where the checkpoint had no head to answer with."""

    run_dir: RunDir
    before: Score | None
    after: Score
    report: dict[str, Any] = field(repr=False)


def adapt(
    recipe: Recipe | str | Path | dict[str, Any],
    *overrides: str,
    name: str | None = None,
    resume: bool = False,
    learning_curve: bool = False,
    narrator: Reporter | None = None,
) -> Run:
    """Train as the recipe says, keep the model only if it beats the untouched one on dev, write the run folder.

    recipe: a shipped recipe's name, a path, a mapping, or one that is checked already. overrides: as on the command
    line, "data.train=train.csv". name: for the default folder `runs/<name>`; else the recipe's own. resume: go on where
    an interrupted run stopped; a finished run is left as it is, and read again. learning_curve: train on a quarter and
    on half of the training part too, to see what more speech would bring. Where a launcher has started several
    processes (torchrun), each calls this, and at its very end `speechxfer.distributed.end`.
    Raises UserError before any work for every value, row or file that cannot be used, all named.
    """
    narrator = narrator or Reporter()
    if not isinstance(recipe, Recipe):
        name = name or (Path(recipe).stem if isinstance(recipe, str | Path) else None)
        recipe = load_recipe(recipe, overrides)
    elif overrides:
        raise TypeError("overrides are for a recipe that is not checked yet: give them to load_recipe")
    name = name or "run"
    require_values(recipe)
    distributed.init_processes(recipe.device)
    if distributed.get_rank() > 0:
        narrator = Reporter(quiet=True)
    folder = RunDir(Path(recipe.output or Path("runs") / name))
    folder.validate(recipe, resume=resume)
    if resume and folder.is_finished and not (learning_curve and "learning_curve" not in folder.read_report()):
        narrator.info(f"{folder.path} holds a finished run; nothing is left to do")
        return _load_finished_run(folder, recipe)
    try:
        return _run_recipe(recipe, name, folder, narrator, resume=resume, learning_curve=learning_curve)
    finally:
        folder.close()


def _run_recipe(
    recipe: Recipe, name: str, folder: RunDir, narrator: Reporter, *, resume: bool, learning_curve: bool
) -> Run:
    began = time.perf_counter()
    set_seed(recipe.seed)

    # data
    material = prepare_splits(recipe, narrator)
    sizes = make_subsets(material.train, recipe.data.group, recipe.seed) if learning_curve else []

    # encoder, head, and whether every stage can begin
    model = build_trainable(recipe, material.texts)
    targets = material.encode_targets(model)
    trainee = StagedModule(model, recipe.augment, recipe.lora)
    augment = WaveformAugmenter(recipe.augment, longest=model.encoder.max_samples)
    utterances = TrainingDataset(material.train, targets, augment, recipe.seed)
    validate_stages(trainee, utterances, recipe)
    untouched = load_zero_shot_model(recipe, narrator)
    if resume and not folder.is_started:
        narrator.info(f"{folder.path} holds no run to go on with: this one begins")
    distributed.wait_for_all()  # until each has looked at the folder as it was
    checkpoint = hash_model_dir(resolve_transformers_dir(recipe.encoder.name))
    sources = {"encoder.name": checkpoint, **{f"data.{part}": of for part, of in material.fingerprints.items()}}
    distributed.run_on_main(lambda: folder.open(recipe, sources, resume=resume))

    # the untouched model comes first, as its authors run it
    judge = Evaluator(recipe, material, narrator, untouched)
    before: Evaluation | None = None
    candidates: list[Candidate] = []
    if untouched is not None:
        candidates.append(Candidate(ZERO_SHOT, judge.evaluate_dev(untouched, ZERO_SHOT_DEV)))
        narrator.info(f"untouched {recipe.encoder.name}: {candidates[0].dev:.1%} {material.metric} on dev")
        if untouched.settings.beam_size > 1:  # adapted here before, and saved with its search
            candidates[0].dev_beam = judge.evaluate_dev_with_beam(untouched, "untouched, dev by beam")
        before = judge.evaluate_test(untouched, "untouched, test")
        if distributed.get_rank() == 0:
            with translate_os_errors(folder.path):
                write_predictions(folder.before, material.test, before.hypotheses, reference=material.reference)

    # stages
    training_began = time.perf_counter()
    stages = train_stages(trainee, utterances, judge, folder, resume=resume)
    training_now = time.perf_counter() - training_began
    training_seconds = sum(stage["seconds"] for stage in stages)  # those of a run that is resumed too
    curve = train_subsets(sizes[:-1], targets, judge, folder, untouched, resume=resume)

    # the best weights on dev must beat the untouched model's
    chosen, *others = select_weights(trainee, stages, folder, judge, untouched)
    curve += [size.to_point(chosen.dev) for size in sizes[-1:]]
    on_dev = judge.score_greedy(model, material.dev, "chosen, dev")
    seen = judge.score_greedy(model, material.sample_train_probe(recipe.seed), "chosen, some of train")
    if trainee.lora:
        lora.merge_adapters(model)
    weighed = tune_rescoring(model, judge, chosen.dev) if isinstance(model, JointRecogniser) else None
    if weighed:
        chosen = replace(chosen, dev_beam=weighed["dev"])  # as it will decode
    searched = tune_beam_search(model, judge) if isinstance(model, CtcRecogniser) else None
    if searched and model.settings.beam_size > 1:
        chosen = Candidate(f"{chosen.name}, beam", searched["dev"])
    trained = judge.evaluate_test(model, "adapted, test")
    beaten = not candidates or chosen.dev_as_decoded < candidates[0].dev_as_decoded
    candidates += [chosen, *others]
    kept, after = (model, trained) if beaten else (untouched, before)
    assert kept is not None and after is not None

    # and what the adapted one has forgotten
    heard = judge.evaluate_retention(untouched, "untouched, other speech") if untouched is not None else None
    forgetting = {
        "before": heard,
        "after": judge.evaluate_retention(kept, "adapted, other speech") if beaten else heard,
    }

    # as plain transformers and faster-whisper will run it
    padded: Evaluation | None = None
    if beaten and model.kind in DECODER_KINDS and not model.settings.pad_to_30s:
        with model.use_padding():
            padded = judge.evaluate_test(model, "adapted, padded to 30 s")

    # what is left behind
    if distributed.get_rank() > 0:
        distributed.wait_for_all()  # until the main one has written it
        return _load_finished_run(folder, recipe)
    folder.save_model(kept)
    report: dict[str, Any] = {
        "before": before.score.to_json() if before else None,
        "after": after.score.to_json(),
        "kept": chosen.name if beaten else ZERO_SHOT,
        "candidates": [vars(candidate) for candidate in candidates],
        "stages": stages,
        **({"rescoring": weighed} if weighed else {}),
        **({"search": searched} if searched else {}),
        **({"learning_curve": curve} if curve else {}),
        "dev": summarize_score(on_dev, judge.dev_scores.get(ZERO_SHOT_DEV)),
        "seen": summarize_score(seen),
        "measure": material.metric,
        "normaliser": "none" if model.kind == "classify" else recipe.scoring.normaliser,
        "parts": material.split_info,
        "warnings": [
            *material.warnings,
            *(make_insertion_warnings(f"the untouched {recipe.encoder.name}", before.score) if before else []),
            *after.score.warnings,
            *make_forgetting_warnings(**forgetting),
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
        with translate_os_errors(folder.path):
            model.save(folder.checkpoints / "rejected")  # for whoever wants this head all the same
    if padded is not None:
        report["after_padded_to_30s"] = padded.score.to_json()
    report["speed"] = {
        **after.speed,
        "training_seconds": round(training_seconds, 1),
        "total_seconds": round(
            time.perf_counter() - began - training_now + training_seconds + judge.cached_seconds, 1
        ),  # as if nothing had been kept: neither by a run that is resumed nor of the untouched model
        "peak_memory_mb": get_peak_memory_mb(model.device),
    }
    report["provenance"] = make_provenance(
        {
            "recipe": recipe.model_dump(mode="json"),
            "seed": recipe.seed,
            "checkpoint": checkpoint,
            "data": material.fingerprints,
        }
    )
    report["advice"] = [vars(advice) for advice in make_advice(report)]
    with translate_os_errors(folder.path):
        write_predictions(folder.after, material.test, after.hypotheses, reference=material.reference)
        write_html_report(
            folder.html,
            f"{name}: {recipe.encoder.name}",
            {**({"before": before.score} if before else {}), "after": after.score},
            facts=summarize_run(report),
            warnings=report["warnings"],
            advice=report["advice"],
            curve=curve,
            audio=find_audio_links(material.test),
        )
    folder.write_report(report)
    distributed.wait_for_all()
    return Run(folder, before.score if before else None, after.score, report)


def load_zero_shot_model(recipe: Recipe, narrator: Reporter | None = None) -> SpeechModel | None:
    """The checkpoint as its authors run it; None (and why is said) where it cannot answer the same question."""
    try:
        # a CTranslate2 folder in torch, whose weights are trained and mixed
        untouched = load(
            resolve_transformers_dir(recipe.encoder.name), device=recipe.device, language=recipe.encoder.language
        )
    except UserError as error:
        if recipe.head.kind in DECODER_KINDS:
            raise
        why = error.problem
    else:
        if (untouched.kind == "classify") == (recipe.head.kind == "classify"):
            return untouched
        why = f"it is a model of kind {untouched.kind}"
    if narrator:
        narrator.info(f"untouched {recipe.encoder.name} cannot be compared with: {why}")
    return None


def _load_finished_run(folder: RunDir, recipe: Recipe) -> Run:
    """A run that ended earlier, its scores made again from what it wrote."""
    labels = recipe.head.kind == "classify"
    before = score_predictions_file(folder.before, recipe.scoring, labels=labels) if folder.before.is_file() else None
    return Run(
        folder, before, score_predictions_file(folder.after, recipe.scoring, labels=labels), folder.read_report()
    )
