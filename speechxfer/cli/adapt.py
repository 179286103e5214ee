"""`speechxfer adapt RECIPE key=value ...`: trains a model and writes the run folder."""

from __future__ import annotations

from typing import Annotated

import typer

from speechxfer.cli._options import JsonFile, Quiet, write_json

HELP_ORDER = 30


def register(app: typer.Typer) -> None:
    app.command("adapt")(adapt)


def adapt(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or a shipped recipe's name.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Recipe values, e.g. data.train=train.csv seed=1."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run, or train a run's stages for more epochs.")
    ] = False,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help="Also train on 25 % and 50 % of the training split, and estimate the gain from more data.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything and estimate hours, steps, minutes and disk space; train nothing."
        ),
    ] = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Adapt a pretrained encoder to your audio with a recipe.

    The pretrained model is scored first; the adapted model is kept only if its dev WER is lower.

    Example: speechxfer adapt accent-whisper data.train=train.csv data.test=test.csv
    """
    from pathlib import Path

    from speechxfer.config import load_recipe
    from speechxfer.report.progress import Reporter

    checked = load_recipe(recipe, overrides or ())
    reporter = Reporter(quiet=quiet)
    name = Path(recipe).stem
    if dry_run:
        from speechxfer.adaptation.dry_run import estimate_run

        estimate = estimate_run(checked, name=name, resume=resume, learning_curve=learning_curve, reporter=reporter)
        write_json("adapt-dry-run", estimate, json)
        return
    from speechxfer import distributed
    from speechxfer.adaptation.run import adapt as run_recipe
    from speechxfer.cli._run_output import print_advice, print_next_commands, print_run

    run = run_recipe(checked, name=name, resume=resume, learning_curve=learning_curve, reporter=reporter)
    main = distributed.get_rank() == 0
    distributed.destroy_processes()
    if not main:  # of the processes that torchrun started, rank 0 alone prints and writes
        return
    write_json("adapt", run.report.to_json(), json)
    print_run(run, reporter)
    print_advice(run, reporter)
    print_next_commands(run, reporter)
