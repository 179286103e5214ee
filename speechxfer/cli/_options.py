"""Options that several commands share, and their handling: reporting, JSON output, columns, write errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from speechxfer.atomic import write_text_atomically
from speechxfer.cli._echo import echo, echo_json
from speechxfer.cli._outputs import STANDARD_OUTPUT, check_output_files
from speechxfer.errors import UserError

SAVED_SETTING = "saved with the model"


def _check_json_target(target: Path | None) -> Path | None:
    """Refuse to overwrite a recording, table or recipe that was named by mistake."""
    try:
        check_output_files({"--json": target})
    except UserError as error:
        echo(f"speechxfer: {error}", err=True)  # options are parsed outside the handler in cli/__init__.py
        raise typer.Exit(2) from None
    return target


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the result as JSON to FILE ('-': standard output).",
        callback=_check_json_target,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the requested JSON only.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run folder, a model folder, a shipped model's name or hub:owner/name.")
]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A table, a data set's folder, or hub:owner/name.")]
ColumnNames = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="KIND=NAME",
        help="Name of a column of DATA, e.g. text=sentence (repeatable). Kinds: id, audio, text, label, speaker, "
        "accent, start, end, ...",
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLS",
        help="Columns to break the WER down by, comma-separated or repeated: accent, gender+age (crossed), age:10 "
        "(bins of 10); or auto; or none.",
        show_default="auto",
    ),
]
NORMALISE = ("--normalise", "--normalize")
NORMALISERS = "none, lower, basic, default, english, or a GLM file"  # in the help of --normalise
Language = Annotated[
    str | None,
    typer.Option(metavar="CODE", help="Language of a multilingual Whisper model, e.g. de.", show_default=SAVED_SETTING),
]
BeamSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Beam size; 1 is greedy search.", show_default=SAVED_SETTING)
]
PadTo30s = Annotated[
    bool | None,
    typer.Option(
        "--pad-to-30s/--no-pad-to-30s", help="Whisper only: pad the audio to 30 s or not.", show_default=SAVED_SETTING
    ),
]
LmFile = Annotated[
    Path | None,
    typer.Option(
        "--lm",
        metavar="FILE",
        help="ARPA language model for the beam search of a CTC head.",
        show_default=SAVED_SETTING,
    ),
]
HotWords = Annotated[
    list[str] | None,
    typer.Option("--hot-word", metavar="WORD", help="Hot word that biases the CTC beam search (repeatable)."),
]
BatchSeconds = Annotated[
    float | None,
    typer.Option(min=0.1, metavar="SECONDS", help="Audio per batch, in seconds.", show_default="120 s"),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or mps.")]


def is_silent(quiet: bool, json: Path | None) -> bool:
    """Return whether nothing is printed: `--quiet`, or `--json -`, which needs standard output for the JSON alone."""
    return quiet or str(json) == "-"


def split_columns(by: Sequence[str] | None) -> list[str] | Literal["auto"]:
    """Return the columns in the values of `--by` (empty for `none`), or `"auto"`.

    Raises:
        UserError: for `auto` or `none` together with columns.
    """
    names = [name.strip() for value in by or ["auto"] for name in value.split(",") if name.strip()]
    if names == ["auto"]:
        return "auto"
    if names == ["none"]:
        return []
    for name in ("auto", "none"):
        if name in names:
            raise UserError(f"'{name}' cannot be combined with columns", where=f"--by {','.join(names)}")
    return names


@contextmanager
def translate_write_errors(where: Path | str) -> Iterator[None]:
    """Raise UserError, naming `where`, instead of an OSError. A closed pipe stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where=str(where)) from None


def write_json(command: str, result: dict[str, Any], target: Path | None) -> None:
    """Write `result`, with its schema, to the target of `--json`; do nothing if the option is not set.

    command: names the schema, e.g. `speechxfer.check/1`.

    Raises:
        UserError: if the file cannot be written.
    """
    if target is None:
        return
    document = {"schema": f"speechxfer.{command}/1", **result}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if target == STANDARD_OUTPUT:
        echo_json(text)
        return
    with translate_write_errors(target):
        write_text_atomically(target, text)
