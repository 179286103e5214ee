"""An adaptation run, in the recipe's order: data, encoder, head, stages, selection, decoding, scoring, outputs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import set_seed

from speechxfer import distributed
from speechxfer.adaptation.learning_curve import train_subsets
from speechxfer.adaptation.outputs import make_report, save_models, write_outputs
from speechxfer.adaptation.predictions import score_predictions_file
from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.adaptation.selection.final_model import evaluate_zero_shot, finalize_model
from speechxfer.adaptation.selection.model_selection import select_weights
from speechxfer.adaptation.setup import load_zero_shot_model, open_run_dir, prepare_training
from speechxfer.adaptation.training.stages import train_stages
from speechxfer.config import Recipe, load_recipe, require_values
from speechxfer.report.progress import Reporter
from speechxfer.report.run_report import RunReport
from speechxfer.scoring import Score


@dataclass
class Run:
    """Result of `adapt`. before: zero-shot score on test; `None` if the pretrained model cannot do the task."""

    run_dir: RunDir
    before: Score | None
    after: Score
    report: RunReport = field(repr=False)


def adapt(
    recipe: Recipe | str | Path | dict[str, Any],
    *overrides: str,
    name: str | None = None,
    resume: bool = False,
    learning_curve: bool = False,
    reporter: Reporter | None = None,
) -> Run:
    """Train as the recipe says, select the model by dev, and write the run directory.

    The adapted model is selected only if its dev error rate is lower than that of the pretrained model.

    Args:
        recipe: a shipped recipe's name, a path, a mapping, or a validated recipe.
        overrides: values as on the command line, e.g. "data.train=train.csv".
        name: of the default run directory `runs/<name>` (default: the recipe's own).
        resume: continue an interrupted run; a finished one is read again, or continued if a stage has more epochs.
        learning_curve: also train on a quarter and on half of the training split.
        reporter: where progress goes (default: the terminal).

    In a distributed run (torchrun) each process calls this, and `speechxfer.distributed.destroy_processes` at the end.

    Raises:
        UserError: before any work; names every value, row or file that cannot be used.
    """
    reporter = reporter or Reporter()
    if not isinstance(recipe, Recipe):
        name = name or (Path(recipe).stem if isinstance(recipe, str | Path) else None)
        recipe = load_recipe(recipe, overrides)
    elif overrides:
        raise TypeError("overrides need a recipe that is not validated yet: pass them to load_recipe")
    require_values(recipe)
    distributed.init_processes(recipe.device)
    if distributed.get_rank() > 0:
        reporter = Reporter(quiet=True)
    run_dir = RunDir(Path(recipe.output or Path("runs") / (name or "run")))
    run_dir.validate(recipe, resume=resume)
    longer = run_dir.find_longer_stage(recipe) if resume else None
    if longer is not None:
        epochs = f"{recipe.stages[longer].epochs:g} epochs"
        reporter.info(f"stage {longer} is continued to {epochs}; later stages and the learning curve are trained again")
    elif resume and run_dir.is_finished and not (learning_curve and run_dir.read_report().learning_curve is None):
        reporter.info(f"{run_dir.path} holds a finished run: nothing to do")
        return _load_finished_run(run_dir, recipe)
    try:
        return _run_recipe(recipe, name or "run", run_dir, reporter, resume=resume, learning_curve=learning_curve)
    finally:
        run_dir.close()


def _run_recipe(
    recipe: Recipe, name: str, run_dir: RunDir, reporter: Reporter, *, resume: bool, learning_curve: bool
) -> Run:
    started = time.perf_counter()
    set_seed(recipe.seed)
    setup = prepare_training(recipe, reporter, learning_curve=learning_curve)
    evaluator = Evaluator(recipe, setup.splits, reporter, load_zero_shot_model(recipe, reporter))
    checkpoint = open_run_dir(run_dir, recipe, setup.splits, reporter, resume=resume)

    baseline = evaluate_zero_shot(evaluator, run_dir)
    training_started = time.perf_counter()
    stages = train_stages(setup.staged, setup.dataset, evaluator, run_dir, resume=resume)
    # a resumed run counts the stages that were trained earlier, and cached predictions count what they once took
    uncounted = sum(stage["seconds"] for stage in stages) - (time.perf_counter() - training_started)
    curve = train_subsets(setup.subsets[:-1], setup.targets, evaluator, run_dir, resume=resume)
    candidates = select_weights(setup.staged, stages, run_dir, evaluator, evaluator.zero_shot)
    curve += [subset.to_point(candidates[0].dev) for subset in setup.subsets[-1:]]
    final = finalize_model(setup.staged, evaluator, candidates, baseline)

    if distributed.get_rank() > 0:
        distributed.wait_for_all()  # until the main process has written the outputs
        return _load_finished_run(run_dir, recipe)
    save_models(run_dir, final, setup.model)
    total_seconds = time.perf_counter() - started + uncounted + evaluator.cached_seconds
    training = {"stages": stages, "learning_curve": curve}
    report = make_report(final, baseline, evaluator, training, total_seconds=total_seconds, checkpoint=checkpoint)
    write_outputs(run_dir, report, final, baseline, evaluator, f"{name}: {recipe.encoder.name}")
    distributed.wait_for_all()
    return Run(run_dir, baseline.test.score if baseline.test else None, final.test.score, report)


def _load_finished_run(run_dir: RunDir, recipe: Recipe) -> Run:
    """Read a finished run; its scores are computed again from the predictions that it wrote."""
    labels = recipe.head.kind == "classify"
    before = score_predictions_file(run_dir.before, recipe.scoring, labels=labels) if run_dir.before.is_file() else None
    after = score_predictions_file(run_dir.after, recipe.scoring, labels=labels)
    return Run(run_dir, before, after, run_dir.read_report())
