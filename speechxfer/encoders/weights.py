"""The weight files of a transformers folder: safetensors, or `pytorch_model.bin` where there is no safetensors file.

A `.bin` file is a pickle. It is read with torch's `weights_only`, which refuses anything but tensors. A safetensors
file that cannot be read is an error, never a reason to read a `.bin` file next to it.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME

from speechxfer.errors import UserError

_LANGUAGE_ADAPTERS = "adapter.*"  # MMS: a file for each language, which are not the model's own weights


def has_safetensors(folder: Path) -> bool:
    """Return whether the folder has the model's weights as safetensors, whole or in shards."""
    return any((folder / name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))


def list_weights(folder: Path) -> list[Path]:
    """Return the weight files of a folder in the order of their names; `.bin` files only without safetensors."""
    found = {path for path in folder.glob("*.safetensors") if not path.match(_LANGUAGE_ADAPTERS)}
    return sorted(found if has_safetensors(folder) else found | set(folder.glob("pytorch_model*.bin")))


def check_weights(folder: Path) -> None:
    """Check that a folder has weights, all of them; of safetensors the headers are read, of `.bin` files nothing.

    Raises:
        UserError: naming the file that is missing, truncated or damaged.
    """
    if has_safetensors(folder):
        for path in list_weights(folder):
            _check_header(path)
        _check_shards(folder, SAFE_WEIGHTS_INDEX_NAME)
    elif (folder / WEIGHTS_NAME).is_file() or (folder / WEIGHTS_INDEX_NAME).is_file():
        _check_shards(folder, WEIGHTS_INDEX_NAME)
    else:
        raise UserError(
            f"no {SAFE_WEIGHTS_NAME} and no {WEIGHTS_NAME}: {_describe_other_weights(folder)}",
            where=str(folder),
            fix="save it again with transformers' save_pretrained, which writes safetensors",
        )


def _check_header(path: Path) -> None:
    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"its weights cannot be read ({error})",
            where=str(path),
            fix="the file is damaged or truncated: copy or download it again",
        ) from None


def _check_shards(folder: Path, index_name: str) -> None:
    """Raise UserError for a shard that is missing; a folder without an index has none."""
    index = folder / index_name
    if not index.is_file():
        return
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError("not a readable index of the weights", where=str(index), fix="copy it again") from None
    missing = sorted(name for name in named if not (folder / str(name)).is_file())
    if missing:
        raise UserError(
            f"weights are missing: {', '.join(missing[:5])}",
            where=str(folder),
            fix="the copy or download is incomplete: get these files too",
        )


def _describe_other_weights(folder: Path) -> str:
    """Describe the weights of a folder that has none of the names that transformers reads."""
    suffixes = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl")
    others = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    if not others:
        return "no weights"
    with others[0].open("rb") as file:
        head = file.read(2)
    if others[0].suffix == ".safetensors":
        kind = "a part of a model"
    elif head[:1] == b"\x80" or head == b"PK":  # torch.save, before and since version 1.6
        kind = "a pickle, which can run code when opened"
    else:
        kind = "neither a pickle nor CTranslate2's Whisper"
    return f"only {others[0].name}, {kind}"
