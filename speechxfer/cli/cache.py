"""`speechxfer cache`: shows the frozen frames and answers that runs have kept, or clears them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from speechxfer.cli._options import JsonFile, Quiet, silent, write_json
from speechxfer.errors import UserError, suggest_nearest

HELP_ORDER = 80


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(cache)
    group.command("clear")(clear)
    app.add_typer(group, name="cache")


def cache(context: typer.Context, json: JsonFile = None, quiet: Quiet = False) -> None:
    """Show what runs keep for the next one: frozen layers' frames, untouched models' answers. Or clear it.

    Example: speechxfer cache clear --all
    """
    if context.invoked_subcommand is not None:
        return
    from speechxfer.encoders.frame_store import get_frames_dir, list_prediction_files, list_stores

    stores = list_stores()
    if not silent(quiet, json):
        for store in stores:
            layer = "convolutions" if store.layer < 0 else f"below layer {store.layer}"
            typer.echo(
                f"{store.path.name}  {store.megabytes:8,.0f} MB  {store.utterances:7,} utterances  "
                f"{_date(store.last_used)}  {store.encoder}, {layer}, {store.dtype}"
            )
        total = sum(store.megabytes for store in stores)
        typer.echo(f"{len(stores)} stores, {total:,.0f} MB in {get_frames_dir()}")
        answers = list_prediction_files()
        typer.echo(f"{len(answers)} parts' answers by untouched models, {_megabytes(answers):,.1f} MB beside them")
        if stores:
            typer.echo("\nspeechxfer cache clear NAME removes one (its first letters are enough), --all every one.")
    listed = [
        {
            "name": store.path.name,
            "path": str(store.path),
            "megabytes": round(store.megabytes, 3),
            "utterances": store.utterances,
            "last_used": _date(store.last_used),
            "encoder": store.encoder,
            "layer": store.layer,
            "dtype": store.dtype,
        }
        for store in stores
    ]
    write_json({"path": str(get_frames_dir()), "stores": listed, "answers": len(list_prediction_files())}, json)


def clear(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A store's name, or how it begins.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Remove kept frames, and with --all the untouched models' answers; a run makes anew what it needs of them."""
    from speechxfer.encoders import frame_store as frames

    if (name is None) == (not every):
        raise UserError("which frames are to go?", fix="name a store as `speechxfer cache` lists it, or say --all")
    known = [store.path.name for store in frames.list_stores()]
    if name is not None:
        meant = [one for one in known if one.startswith(name)]
        if len(meant) != 1:
            problem = f"{len(meant)} stores begin so" if meant else f"no such store{suggest_nearest(name, known)}"
            raise UserError(problem, where=name, fix="`speechxfer cache` lists them")
    removed = frames.clear_stores(name=name)
    answers = frames.list_prediction_files() if every else []
    freed = sum(store.megabytes for store in removed) + _megabytes(answers)
    for path in answers:
        path.unlink(missing_ok=True)
    if not silent(quiet, json):
        typer.echo(f"{len(removed)} of {len(known)} stores removed, {freed:,.0f} MB freed")
    write_json({"removed": [store.path.name for store in removed], "megabytes": round(freed, 3)}, json)


def _megabytes(files: list[Path]) -> float:
    return sum(path.stat().st_size for path in files) / 1e6


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
