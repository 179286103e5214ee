"""`speechxfer adapt RECIPE key=value ...`: trains, and writes the run folder."""

from __future__ import annotations

from typing import Annotated

import typer

from speechxfer.cli._options import JsonFile, Quiet, write_json

HELP_ORDER = 30


def register(app: typer.Typer) -> None:
    app.command("adapt")(adapt)


def adapt(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's path, or a shipped recipe's name.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For example data.train=train.csv seed=1.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help="Train on 25 % and on 50 % of the training part too, and say what more speech would bring.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and say hours, steps, minutes and disk; train nothing.")
    ] = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Adapt a pretrained encoder, as a recipe says, to your audio.

    The untouched model is scored first, and the result kept only if it is better.

    Example: speechxfer adapt accent-whisper data.train=train.csv data.test=test.csv
    """
    from pathlib import Path

    from speechxfer.config import load_recipe
    from speechxfer.report.progress import Reporter

    checked = load_recipe(recipe, overrides or ())
    narrator = Reporter(quiet=quiet)
    name = Path(recipe).stem
    if dry_run:
        from speechxfer.adaptation.dry_run import estimate_run

        planned = estimate_run(checked, name=name, resume=resume, learning_curve=learning_curve, narrator=narrator)
        write_json(planned, json)
        return
    from speechxfer import distributed
    from speechxfer.adaptation.run import adapt as run_recipe
    from speechxfer.cli._telling import tell, tell_next

    run = run_recipe(checked, name=name, resume=resume, learning_curve=learning_curve, narrator=narrator)
    main = distributed.get_rank() == 0
    distributed.destroy_processes()
    if not main:  # torchrun started several; one tells
        return
    tell(run, narrator)
    tell_next(run, narrator)
    write_json(run.report, json)
