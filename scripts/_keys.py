"""Table of every recipe key with its default and meaning, from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from _cells import markdown
from pydantic import BaseModel

from speechxfer.config import Recipe

KEYS = (
    'Override a key on the command line with `KEY=VALUE`; quote lists (`"lora.targets=[q_proj, v_proj]"`) and number '
    "stages from 0 (`stages.0.epochs=2`). The `recipe.yaml` of a run has the values of all keys."
)


def keys_table() -> str:
    """Return the table: dotted key, default, meaning with the allowed values."""
    return markdown(("key", "default", "meaning"), ([f"`{key}`", default, what] for key, default, what in keys()))


def keys(schema: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, default, meaning) of every key; N is the index in a list of sections."""
    for name, field in schema.model_fields.items():
        inner = _section(field.annotation)
        if inner is not None:
            listed = get_origin(field.annotation) is list
            yield from keys(inner, f"{prefix}{name}.{'N.' if listed else ''}")
            continue
        default = "" if field.is_required() else f"`{_format_default(field.get_default(call_default_factory=True))}`"
        yield f"{prefix}{name}", default, " ".join([*_choices(field.annotation), field.description or ""]).strip()


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the schema of a key's section, also for a list of sections."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _choices(annotation: Any) -> list[str]:
    kinds = (annotation, *get_args(annotation))
    words = [f"`{word}`" for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    return [f"{', '.join(words)}."] if len(words) > 1 else []


def _format_default(value: Any) -> str:
    """Return the value as YAML."""
    return value if isinstance(value, str) else json.dumps(value)
