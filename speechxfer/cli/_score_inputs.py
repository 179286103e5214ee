"""Files of `speechxfer score`: names of systems (`NAME=FILE`), standard input (`-`) and other pipes."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
        pipe: the pipe of which the file is a copy, as given on the command line.
    """

    path: Path
    name: str | None = None
    pipe: str | None = None

    @property
    def shown(self) -> str:
        """The path as given on the command line."""
        return self.pipe or str(self.path)

    @property
    def is_pipe(self) -> bool:
        """Whether it is standard input, a named pipe, or a shell's `<(command)`."""
        return str(self.path) == _STANDARD_INPUT or self.path.is_fifo()


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
def copy_pipes(files: Sequence[NamedFile], *, with_format: bool) -> Iterator[list[NamedFile]]:
    """Yield the files with every pipe copied to a file, which can be read more than once.

    Errors that name a copy name the pipe instead.

    Args:
        with_format: the format of pipes without a suffix is given.
    """
    pipes = [file for file in files if file.is_pipe]
    unknown = [file for file in pipes if not file.path.suffix]
    if unknown and not with_format:
        fix = "add --format, e.g. --format trn (or REF,HYP for two formats), or --by-line"
        raise UserError(f"{_describe(unknown[0])} has no suffix that gives its format", where=unknown[0].shown, fix=fix)
    with tempfile.TemporaryDirectory(prefix="speechxfer-") as folder:
        copies = {file: _copy(file, Path(folder) / str(number)) for number, file in enumerate(pipes)}
        try:
            yield [copies.get(file, file) for file in files]
        except UserError as error:
            texts = [error.problem, error.where, error.fix]
            for pipe, copy in copies.items():
                texts = [text and text.replace(str(copy.path), _describe(pipe)) for text in texts]
            raise UserError(texts[0] or "", where=texts[1], fix=texts[2]) from None


def _describe(pipe: NamedFile) -> str:
    return "standard input" if str(pipe.path) == _STANDARD_INPUT else str(pipe.path)


def _copy(pipe: NamedFile, folder: Path) -> NamedFile:
    """Copy a pipe to a file of its name in a new folder."""
    is_standard_input = str(pipe.path) == _STANDARD_INPUT
    copy = folder / (_STANDARD_INPUT_NAME if is_standard_input else pipe.path.name)
    folder.mkdir()
    with ExitStack() as stack:
        source = sys.stdin.buffer if is_standard_input else stack.enter_context(pipe.path.open("rb"))
        shutil.copyfileobj(source, stack.enter_context(copy.open("wb")))
    return replace(pipe, path=copy, pipe=str(pipe.path))
