"""Options that several verbs take, and the console that `--quiet` silences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from speechxfer.errors import UserError


def _no_one_s_input(target: Path | None) -> Path | None:
    """Before any work: a recording, a table or a recipe that was named by mistake is not written over."""
    if target is not None and target.is_file() and target.suffix.lower() != ".json":
        error = UserError("is there already, and is no .json file", where=f"--json {target}", fix="name another file")
        typer.echo(f"speechxfer: {error}", err=True)  # no command has begun that would say it
        raise typer.Exit(2)
    return target


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the result as JSON to FILE ('-': standard output).",
        callback=_no_one_s_input,
    ),
]
LmFile = Annotated[
    Path | None,
    typer.Option("--lm", metavar="FILE", help="Of a CTC head: search with this ARPA file; else as saved."),
]
HotWords = Annotated[
    list[str] | None,
    typer.Option("--hot-word", metavar="WORD", help="Of a CTC head: prefer this name or term; repeatable."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and the JSON asked for.")]


def silent(quiet: bool, json: Path | None) -> bool:
    """Whether nothing is told: `--quiet`, or `--json -`, whose standard output is the JSON's alone."""
    return quiet or str(json) == "-"


def write_json(result: dict[str, Any], target: Path | None) -> None:
    """Write `result` where `--json` says; nothing when it was not given. Raises UserError where it cannot be."""
    if target is None:
        return
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(target) == "-":
        typer.echo(text, nl=False)
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where=str(target)) from None
