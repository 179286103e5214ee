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
from speechxfer.errors import UserError

SAVED_SETTING = "saved with the model"


def _check_json_target(target: Path | None) -> Path | None:
    """Refuse to overwrite an existing recording, table or recipe that was named by mistake."""
    if target is not None and target.is_file() and target.suffix.lower() != ".json":
        problem = "already exists and is not a .json file"
        error = UserError(problem, where=f"--json {target}", fix="name another file")
        echo(f"speechxfer: {error}", err=True)  # options are parsed outside the handler in cli/__init__.py
        raise typer.Exit(2)
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


def write_json(result: dict[str, Any], target: Path | None) -> None:
    """Write `result` to the target of `--json`; do nothing if the option is not set.

    Raises:
        UserError: if the file cannot be written.
    """
    if target is None:
        return
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(target) == "-":
        echo_json(text)
        return
    with translate_write_errors(target):
        write_text_atomically(target, text)
