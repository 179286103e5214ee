"""Which files a command may write: an existing file is replaced only if this program wrote it, or with --overwrite.

What the program writes can be told from its first bytes where the format has a place for it: JSON begins with a
`schema` of speechxfer, HTML reports name their generator, aligned texts begin with the name of the system, and events
with the word. Tables, transcripts and language models have no such place: the commands that write them have
`--overwrite`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from speechxfer.errors import UserError

STANDARD_OUTPUT = Path("-")
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]

_HEAD_BYTES = 4_096  # a report's marks are within its first lines
_OWN_HEADS = (
    re.compile(rb'\s*\{\s*"schema": "speechxfer\.'),
    re.compile(rb'(?i)\s*<!doctype html>.*<meta name="generator" content="speechxfer">', re.DOTALL),
    re.compile(rb"System name:   "),
    re.compile(rb'\{"word": ".*?", "time": [\d.]+, "score": '),  # events of `wakeword listen`
)


def check_output_files(
    outputs: Mapping[str, Path | None], inputs: Iterable[Path] = (), *, overwrite: bool | None = None
) -> None:
    """Check before the work that writing the outputs loses nothing.

    Args:
        outputs: file of each option (None: not given; `-`: standard output). Pipes and devices are written as they are.
        inputs: files and folders that the command reads.
        overwrite: value of the command's `--overwrite`; None if it has no such option.

    Raises:
        UserError: for a folder, for an input, for one file named twice, and for an existing file that the program did
            not write.
    """
    read = list(inputs)
    seen: list[Path] = []
    for option, path in outputs.items():
        if path is None:
            continue
        where = f"{option} {path}"
        if path in seen:
            raise UserError("is named for two outputs", where=where, fix="name another file")
        seen.append(path)
        if path == STANDARD_OUTPUT:
            continue
        if path.is_dir():
            raise UserError("is a folder", where=where, fix="name a file in it")
        if is_input(path, read):
            raise UserError("is also an input", where=where, fix="name another file")
        if not overwrite and path.is_file() and path.stat().st_size and not is_own_file(path):
            problem = "already exists" if overwrite is not None else "already exists, and was not written by speechxfer"
            fix = "name another file" + (", or use --overwrite to replace it" if overwrite is not None else "")
            raise UserError(problem, where=where, fix=fix)


def is_input(path: Path, inputs: Iterable[Path]) -> bool:
    """Return whether a path is one of the inputs, or a link to one."""
    return path.exists() and any(other.exists() and path.samefile(other) for other in inputs)


def is_own_file(path: Path) -> bool:
    """Return whether a file begins as the JSON, HTML and aligned texts that this program writes."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return any(pattern.match(head) for pattern in _OWN_HEADS)
