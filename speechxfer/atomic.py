"""Atomic writes: a reader finds the old file or the new one, never half of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text to `.NAME.part` next to `path`, then rename it over `path`; the old file is kept on an error."""
    if path.exists() and not path.is_file():  # a pipe or a device
        path.write_text(text, encoding="utf-8")
        return
    path = path.resolve()  # the file that a link names is replaced, not the link
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


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
