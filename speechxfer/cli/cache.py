"""`speechxfer cache`: lists or removes the features and predictions that runs cached."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechxfer.cli._echo import echo
from speechxfer.cli._options import JsonFile, Quiet, is_silent, write_json
from speechxfer.errors import UserError, suggest_nearest

if TYPE_CHECKING:
    from speechxfer.encoders.frame_store import StoreInfo

HELP_ORDER = 80


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(cache)
    group.command("clear")(clear)
    app.add_typer(group, name="cache")


def cache(context: typer.Context, json: JsonFile = None, quiet: Quiet = False) -> None:
    """List or remove what runs cached.

    Runs cache the features of frozen layers and the predictions of pretrained models, for later runs.

    Example: speechxfer cache clear --all
    """
    if context.invoked_subcommand is not None:
        return
    from speechxfer.encoders.frame_store import get_frames_dir, list_prediction_files, list_stores

    stores = list_stores()
    predictions = list_prediction_files()
    if not is_silent(quiet, json):
        _print_stores(stores, get_frames_dir(), predictions)
    listed = [
        {
            "name": store.path.name,
            "path": str(store.path),
            "megabytes": round(store.megabytes, 3),
            "utterances": store.utterances,
            "last_used": _format_time(store.last_used),
            "encoder": store.encoder,
            "layer": store.layer,
            "dtype": store.dtype,
        }
        for store in stores
    ]
    write_json("cache", {"path": str(get_frames_dir()), "stores": listed, "answers": len(predictions)}, json)


def clear(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A store's name, or its first letters.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Remove cached features.

    With --all the cached predictions are removed too. Later runs compute again what they need.
    """
    from speechxfer.encoders import frame_store

    if (name is None) == (not every):
        raise UserError("nothing to clear", fix="name a store as listed by `speechxfer cache`, or pass --all")
    known = [store.path.name for store in frame_store.list_stores()]
    if name is not None:
        matches = [one for one in known if one.startswith(name)]
        if len(matches) != 1:
            ambiguous = f"{len(matches)} stores have names that begin with it"
            problem = ambiguous if matches else f"no such store{suggest_nearest(name, known)}"
            raise UserError(problem, where=name, fix="list them with `speechxfer cache`")
    removed = frame_store.clear_stores(name=name)
    predictions = frame_store.list_prediction_files() if every else []
    freed = sum(store.megabytes for store in removed) + _count_megabytes(predictions)
    for path in predictions:
        path.unlink(missing_ok=True)
    if not is_silent(quiet, json):
        echo(f"{len(removed)} of {len(known)} stores removed, {freed:,.0f} MB freed")
    write_json("cache-clear", {"removed": [store.path.name for store in removed], "megabytes": round(freed, 3)}, json)


def _print_stores(stores: list[StoreInfo], folder: Path, predictions: list[Path]) -> None:
    for store in stores:
        layer = "convolutions" if store.layer < 0 else f"below layer {store.layer}"
        echo(
            f"{store.path.name}  {store.megabytes:8,.0f} MB  {store.utterances:7,} utterances  "
            f"{_format_time(store.last_used)}  {store.encoder}, {layer}, {store.dtype}"
        )
    echo(f"{len(stores)} stores, {sum(store.megabytes for store in stores):,.0f} MB in {folder}")
    megabytes = _count_megabytes(predictions)
    echo(f"predictions of pretrained models on {len(predictions)} data splits, {megabytes:,.1f} MB")
    if stores:
        echo("\nspeechxfer cache clear NAME removes one (its first letters are enough), --all removes everything.")


def _count_megabytes(files: list[Path]) -> float:
    return sum(path.stat().st_size for path in files) / 1e6


def _format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
