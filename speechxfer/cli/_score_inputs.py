"""Files of `speechxfer score`: names of systems (`NAME=FILE`), and standard input (`-`)."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from speechxfer.errors import UserError

_STANDARD_INPUT = "-"
_STANDARD_INPUT_NAME = "standard-input"  # of its copy, and of the system


@dataclass(frozen=True)
class NamedFile:
    """An input file.

    Attributes:
        name: name of the system given on the command line, if any.
        copied: the file is a copy of standard input.
    """

    path: Path
    name: str | None = None
    copied: bool = False

    @property
    def shown(self) -> str:
        """The path as given on the command line."""
        return _STANDARD_INPUT if self.copied else str(self.path)


def parse_files(arguments: Sequence[str]) -> list[NamedFile]:
    """Parse `FILE` and `NAME=FILE`; an existing file whose name contains `=` is meant itself.

    Raises:
        UserError: for two equal names, and for standard input given twice.
    """
    files = [_parse_file(argument) for argument in arguments]
    names = [file.name for file in files if file.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two systems are named '{name}'", fix="give each system its own name")
    if [str(file.path) for file in files].count(_STANDARD_INPUT) > 1:
        raise UserError("standard input is given twice", where=_STANDARD_INPUT, fix="give a file for one of them")
    return files


def _parse_file(argument: str) -> NamedFile:
    name, separator, path = argument.partition("=")
    if not separator or not name or not path or "/" in name or Path(argument).exists():
        return NamedFile(Path(argument))
    return NamedFile(Path(path), name)


@contextmanager
def copy_standard_input(files: Sequence[NamedFile], *, with_format: bool) -> Iterator[list[NamedFile]]:
    """Yield the files with standard input, if it is one of them, copied to a file, which can be read more than once.

    Errors that name the copy name standard input instead.

    Args:
        with_format: the format of standard input, which has no suffix, is given.
    """
    if _STANDARD_INPUT not in [str(file.path) for file in files]:
        yield list(files)
        return
    if not with_format:
        fix = "add --format, e.g. --format trn (or REF,HYP for two formats), or --by-line"
        raise UserError("standard input has no suffix that gives its format", where=_STANDARD_INPUT, fix=fix)
    with tempfile.TemporaryDirectory(prefix="speechxfer-") as folder:
        copy = Path(folder) / _STANDARD_INPUT_NAME
        with copy.open("wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target)
        try:
            yield [
                replace(file, path=copy, copied=True) if str(file.path) == _STANDARD_INPUT else file for file in files
            ]
        except UserError as error:
            named = [text and text.replace(str(copy), "standard input") for text in (error.where, error.fix)]
            problem = error.problem.replace(str(copy), "standard input")
            raise UserError(problem, where=named[0], fix=named[1]) from None
