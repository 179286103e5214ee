"""Atomic writes: a reader finds the old file or the new one, never half of it."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def replacement_file(path: Path) -> Iterator[Path]:
    """Yield a new file next to `path`, to be written; it is renamed over `path` at the end.

    On an error the old file is kept and the new one removed. A link's target is replaced, not the link; of a pipe or a
    device its own path is yielded. The folder of `path` is created if necessary.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    # two processes may write one file at once; the suffix is kept, which may give the format
    part = path.with_name(f".part-{secrets.token_hex(4)}-{path.name[-40:]}")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def open_atomically(path: Path, *, errors: str = "strict", newline: str | None = None) -> Iterator[TextIO]:
    """Context manager that opens a `replacement_file` for UTF-8 text."""
    with replacement_file(path) as part, part.open("w", encoding="utf-8", errors=errors, newline=newline) as file:
        yield file


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text as `open_atomically` does."""
    with open_atomically(path) as file:
        file.write(text)


@contextmanager
def temporary_sibling_dir(path: Path, prefix: str | None = None) -> Iterator[Path]:
    """Yield a new empty directory next to `path`, on the same file system, to be filled and renamed to `path`.

    The parent is created if necessary. Whatever is left of the directory on exit is removed.
    prefix: of the directory's name (default: `.NAME-`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-" if prefix is None else prefix, dir=path.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
