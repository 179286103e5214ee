"""Every key of a recipe, with its default and its meaning, from the schema that checks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from _cells import markdown
from pydantic import BaseModel

from speechxfer.config import Recipe


def keys_table() -> str:
    """The table: dotted key, default, meaning with the words that may stand there."""
    return markdown(("key", "default", "what it is"), ([f"`{key}`", default, what] for key, default, what in keys()))


def keys(schema: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of each; N stands for a place in a list of sections."""
    for name, field in schema.model_fields.items():
        inner = _section(field.annotation)
        if inner is not None:
            listed = get_origin(field.annotation) is list
            yield from keys(inner, f"{prefix}{name}.{'N.' if listed else ''}")
            continue
        default = "" if field.is_required() else f"`{_written(field.get_default(call_default_factory=True))}`"
        yield f"{prefix}{name}", default, " ".join([*_choices(field.annotation), field.description or ""]).strip()


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, one or a list of them."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _choices(annotation: Any) -> list[str]:
    kinds = (annotation, *get_args(annotation))
    words = [f"`{word}`" for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    return [f"{', '.join(words)}."] if len(words) > 1 else []


def _written(value: Any) -> str:
    """As YAML takes it."""
    return value if isinstance(value, str) else json.dumps(value)
