"""Printing from commands: text from files reaches the terminal with its control characters escaped."""

from __future__ import annotations

from typing import IO

import typer

from speechxfer.escaping import escape_controls, escape_controls_in_json


def echo(text: str, *, err: bool = False, file: IO[str] | None = None, end: str = "\n") -> None:
    """Print `text` to standard output, to standard error (`err`) or to `file`."""
    typer.echo(escape_controls(text) + end, err=err, file=file, nl=False)


def echo_json(document: str) -> None:
    """Print a JSON document, which stays valid, to standard output."""
    typer.echo(escape_controls_in_json(document), nl=False)


def overwrite_line(text: str) -> None:
    """Replace the current line of standard error by `text`, without a line feed."""
    typer.echo("\r" + escape_controls(text), err=True, nl=False)
