"""Atomic output folder of an export, which never replaces files other than an exported model."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from speechxfer.atomic import temporary_sibling_dir
from speechxfer.errors import UserError
from speechxfer.export.onnx_writer import MANIFEST_FILE, ONNX_FORMAT

# the files of models in the formats of transformers, CTranslate2 and ONNX
_EXPORTED_NAME = re.compile(
    r"(adapter|model)[\w.-]*\.(safetensors|bin|onnx|onnx\.data)|model\.safetensors\.index\.json"
    r"|(merges|vocab)\.txt"
    r"|(added_tokens|config|generation_config|manifest|normalizer|preprocessor_config|processor_config|speechxfer"
    r"|special_tokens_map|tokenizer|tokenizer_config|vocab|vocabulary)\.json"
)
_RUN_FILE = "recipe.yaml"  # marks the folder of a run of `adapt`


@contextmanager
def atomic_output_dir(output: Path, source: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder that is moved to `output` unless an exception was raised.

    source: the folder of the exported model, which is never written to.

    Raises:
        UserError: if `output` has any files, unless it is an exported model and `overwrite` is set.
    """
    _check_output(output, source, overwrite)
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(temporary_sibling_dir(output, prefix=".exporting-"))
        except OSError as error:
            problem = f"cannot be written ({error.strerror or error})"
            raise UserError(problem, where=f"--output {output}", fix="name another folder") from None
        scratch.chmod(0o755)  # mkdtemp gives access to the owner only
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


def _check_output(output: Path, source: Path, overwrite: bool) -> None:
    where = f"--output {output}"
    if output.exists() and not output.is_dir():
        raise UserError("is a file", where=where, fix="name a folder")
    target, origin = output.resolve(), source.resolve()
    if target == origin or target in origin.parents:
        raise UserError("is or contains the folder of the exported model", where=where, fix="name another folder")
    paths = sorted(output.iterdir()) if output.is_dir() else []
    if not paths:
        return
    names = {path.name for path in paths}
    foreign = [path.name for path in paths if path.is_dir() or not _EXPORTED_NAME.fullmatch(path.name)]
    if _RUN_FILE in names or foreign or not ("config.json" in names or _is_onnx_export(output)):
        listed = ", ".join((foreign or sorted(names))[:4])
        raise UserError(f"contains other files ({listed})", where=where, fix="name a new folder")
    if not overwrite:
        raise UserError("a model already exists", where=where, fix="use --overwrite to replace it, or another folder")


def _is_onnx_export(folder: Path) -> bool:
    """Return whether `export_model` wrote this ONNX graph; a wake-word detector has files of the same names."""
    try:
        return json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["format"] == ONNX_FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False
