"""Default stages of a recipe that does not give them, by the kind of its head."""

from __future__ import annotations

import copy
import re
from typing import Any

from speechxfer.config.recipe import HeadConfig

# keys whose values were chosen together: if the first is missing, all are filled in
_LENGTH_KEYS = ("epochs", "patience")
_RATE_KEYS = ("lr", "encoder_lr", "decoder_lr", "layer_decay")

_WHISPER_DECODER = [{"train": "all", "epochs": 6, "lr": 1e-4, "decoder_lr": 1e-5, "batch_seconds": 80}]
_WHISPER_DECODER_STAGED = [
    {"train": "head", "epochs": 6, "lr": 1e-4, "decoder_lr": 1e-5, "patience": 2, "batch_seconds": 80},
    {
        "train": ["head", "top-2"],
        "epochs": 6,
        "lr": 1e-4,
        "decoder_lr": 1e-5,
        "layer_decay": 0.7,
        "patience": 2,
        "batch_seconds": 80,
    },
    {
        "train": "all",
        "epochs": 4,
        "lr": 1e-4,
        "decoder_lr": 1e-5,
        "layer_decay": 0.8,
        "patience": 2,
        "batch_seconds": 80,
    },
]
_JOINT = [{"train": "all", "epochs": 8, "lr": 1e-3, "encoder_lr": 1e-4, "decoder_lr": 1e-5, "batch_seconds": 80}]
_CTC = [
    {"train": "head", "epochs": 5, "lr": 2e-3, "batch_seconds": 40},
    {"train": ["head", "encoder"], "epochs": 10, "lr": 1e-3, "encoder_lr": 1.5e-4, "batch_seconds": 40},
]
_CLASSIFY = [
    {"train": "head", "epochs": 2, "lr": 1e-3, "batch_seconds": 100},
    {"train": ["head", "top-2"], "epochs": 3, "lr": 2e-4, "batch_seconds": 100},
]
DEFAULT_STAGES = {"seq2seq": _WHISPER_DECODER, "joint": _JOINT, "ctc": _CTC, "classify": _CLASSIFY}
DEFAULT_SEVERAL_STAGES = {"seq2seq": _WHISPER_DECODER_STAGED}  # for a recipe with more than one stage


def find_default_stages(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the default stages for a recipe's head and number of stages; none for an unknown head."""
    head, stages = values.get("head") or {}, values.get("stages")
    kind = head.get("kind", HeadConfig().kind) if isinstance(head, dict) else None
    if not isinstance(kind, str) or kind not in DEFAULT_STAGES:
        return []
    has_several = isinstance(stages, list) and len(stages) > 1
    found = DEFAULT_SEVERAL_STAGES.get(kind, DEFAULT_STAGES[kind]) if has_several else DEFAULT_STAGES[kind]
    return copy.deepcopy(found)


def fill_stage_defaults(stages: Any, defaults: list[dict[str, Any]]) -> None:
    """Fill in missing epochs and learning rates from the default stage that trains the same parts, else from the last.

    Missing `epochs` also fills in `patience`; a missing `lr` also fills in the other rates. Other keys, e.g.
    `batch_seconds`, have the defaults of `StageConfig`.
    """
    if not isinstance(stages, list) or not defaults:
        return
    for stage in stages:
        if not isinstance(stage, dict):
            continue
        parts = _normalise_parts(stage.get("train"))
        default = next((one for one in defaults if _normalise_parts(one["train"]) == parts), defaults[-1])
        for keys in (_LENGTH_KEYS, _RATE_KEYS):
            if keys[0] not in stage:
                stage.update({key: default[key] for key in keys if key in default and key not in stage})


def _normalise_parts(train: Any) -> set[str]:
    """Return the trained parts without their order and the number of upper layers."""
    return {re.sub(r"^top-\d+$", "top", str(part)) for part in (train if isinstance(train, list) else [train])}
