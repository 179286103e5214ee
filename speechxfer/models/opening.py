"""Opens parts of a transformers folder, quiet and offline; what is damaged or lacking is the user's message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig

from speechxfer.errors import UserError


def config_of(folder: Path) -> Any:
    """The folder's transformers configuration. Raises UserError where it cannot be read."""
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise UserError(
            f"transformers cannot read its config.json ({str(error).splitlines()[0]})", where=str(folder)
        ) from None


def pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained(folder)`, quiet and offline; a damaged or incomplete folder is a UserError.

    A network comes in float32 with every weight that the folder should have.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not hasattr(kind, "from_config") and not hasattr(kind, "gradient_checkpointing_enable"):  # no network
        try:
            return kind.from_pretrained(folder, local_files_only=True, **options)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"its tokenizer or feature extractor cannot be read ({str(error).splitlines()[0]})", where=str(folder)
            ) from None
    fresh = options.pop("fresh", ())  # prefixes of weights that are new on purpose
    try:
        network, found = kind.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **options
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"its weights cannot be read ({str(error).splitlines()[0]})",
            where=str(folder),
            fix="the file is damaged or cut short: copy or download it again",
        ) from None
    missing = sorted(name for name in found["missing_keys"] if not name.startswith(tuple(fresh)))
    if missing:
        raise UserError(f"weights are missing: {', '.join(missing[:5])}", where=str(folder))
    return network
