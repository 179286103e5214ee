"""The folder that an export goes to: written beside and moved into place, and never over what is no model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechxfer.errors import UserError
from speechxfer.export.onnx_writer import MANIFEST_FILE, ONNX_FORMAT

# .txt: merges and vocabularies of some tokenizers; .data: weights of a graph of more than 2 GB
_MADE_BY_EXPORT = {".json", ".safetensors", ".bin", ".onnx", ".data", ".txt"}
_A_RUN_S = "recipe.yaml"


@contextmanager
def atomic_output_dir(output: Path, source: Path, *, overwrite: bool) -> Iterator[Path]:
    """While open, an empty folder to write to; it becomes `output` where nothing was raised.

    source: the folder of the model that is exported, which is never written to. Raises UserError where `output` holds
    anything, unless that is an exported model and `overwrite` is said.
    """
    _check(output, source, overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=output.parent, prefix=".exporting-"))
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise UserError(problem, where=f"--output {output}", fix="name another folder") from None
    try:
        scratch.chmod(0o755)  # mkdtemp's is the user's alone
        yield scratch
        aside = scratch.with_name(f"{scratch.name}-before")
        try:
            if output.exists():
                output.rename(aside)
            scratch.rename(output)
        except OSError as error:
            problem = f"cannot be replaced ({error.strerror or error})"
            raise UserError(problem, where=f"--output {output}", fix="name a new folder") from None
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check(output: Path, source: Path, overwrite: bool) -> None:
    where = f"--output {output}"
    if output.exists() and not output.is_dir():
        raise UserError("is a file", where=where, fix="name a folder")
    here, origin = output.resolve(), source.resolve()
    if here == origin or here in origin.parents:
        raise UserError("holds the model that is exported", where=where, fix="name another folder")
    held = sorted(output.iterdir()) if output.is_dir() else []
    if not held:
        return
    names = {path.name for path in held}
    foreign = [path.name for path in held if path.is_dir() or path.suffix not in _MADE_BY_EXPORT]
    if _A_RUN_S in names or foreign or not ("config.json" in names or _is_graph(output)):
        listed = ", ".join((foreign or sorted(names))[:4])
        raise UserError(f"holds files of something else ({listed})", where=where, fix="name a new folder")
    if not overwrite:
        raise UserError("a model lies there", where=where, fix="say --overwrite to replace it, or name another folder")


def _is_graph(folder: Path) -> bool:
    """Whether it holds an ONNX graph that `export_model` wrote: a wake-word detector has files of the same names."""
    try:
        return json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["format"] == ONNX_FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False
