"""`speechxfer recipes`: lists the shipped recipes or copies one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxfer.atomic import write_text_atomically
from speechxfer.cli._echo import echo
from speechxfer.cli._options import JsonFile, Quiet, is_silent, write_json
from speechxfer.errors import UserError, suggest_nearest

HELP_ORDER = 70


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(recipes)
    group.command("copy")(copy)
    app.add_typer(group, name="recipes")


def recipes(context: typer.Context, json: JsonFile = None, quiet: Quiet = False) -> None:
    """List the shipped recipes, or copy one.

    Example: speechxfer recipes copy accent-whisper
    """
    from speechxfer.config import detect_command, shipped_recipes

    if context.invoked_subcommand is not None:
        return
    listed = [
        {
            "name": name,
            "path": str(path),
            "purpose": _purpose(path),
            "command": f"speechxfer {detect_command(path)}",
        }
        for name, path in shipped_recipes().items()
    ]
    if not is_silent(quiet, json):
        width = max((len(one["name"]) for one in listed), default=0)
        for one in listed:
            echo(f"{one['name']:{width}}  {one['purpose']}")
        echo(f"\n{_format_command('NAME', 'adapt')} runs one; recipes copy NAME copies one for editing.")
        for one in listed:
            if one["command"] != "speechxfer adapt":
                echo(f"{_format_command(one['name'], one['command'])} runs {one['name']}.")
    write_json("recipes", {"recipes": listed}, json)


def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped recipe's name.")],
    target: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Target file; default NAME.yaml.")] = None,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Copy a shipped recipe to a file for editing."""
    from speechxfer.config import detect_command, shipped_recipes

    known = shipped_recipes()
    if name not in known:
        problem = f"no such recipe{suggest_nearest(name, known)}"
        raise UserError(problem, where=name, fix=f"use one of {', '.join(known)}")
    file = target or Path(f"{name}.yaml")
    if file.is_dir():
        file = file / f"{name}.yaml"
    if file.exists():
        raise UserError("already exists", where=str(file), fix="name another file")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(file, known[name].read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=str(file)) from None
    if not is_silent(quiet, json):
        echo(f"{file}\n  run it: {_format_command(file, detect_command(known[name]))}")
    write_json("recipes-copy", {"name": name, "path": str(file)}, json)


def _format_command(recipe: Path | str, command: str) -> str:
    """Return the command line that runs a recipe."""
    if command.endswith("wakeword train"):
        return f'speechxfer wakeword train "hey juniper" --recipe {recipe}'
    return f"speechxfer adapt {recipe} data.train=train.csv"


def _purpose(path: Path) -> str:
    """Return the first comment line of a recipe, which says when to use it."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
