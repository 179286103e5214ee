"""Validation errors of a recipe: each names the key, its line and what to write instead."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from speechxfer.errors import suggest_nearest

_MESSAGES = {  # by pydantic's error type, where its own message is technical
    "missing": "is missing",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "model_type": "must be a section, as in {key: value}",
    "list_type": "must be a list, as in [a, b]",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}
_UNION_TAGS = ("list[", "constrained-list", "literal[", "function-", "nullable[")  # of pydantic, in a key
_SECTION_ERRORS = ("model_type", "model_attributes_type", "dict_type")
# keys of earlier versions; N is the number of a stage
RENAMED_KEYS = {
    "candidates.metric": "scoring.metric",
    "candidates.untouched": "candidates.pretrained_share",
    "data.other": "data.retention",
    "decoding.beams": "decoding.beam_size",
    "encoder.silence": "encoder.pad_silence",
    "head.recurrent": "head.lstm_layers",
    "stages.N.accumulate": "stages.N.gradient_accumulation",
    "stages.N.clip": "stages.N.max_grad_norm",
    # of a wake word
    "check": "validation_share",
    "extra": "extra_rounds",
    "minutes": "max_minutes",
    "rounds": "mining_rounds",
    "target": "false_alarms_per_hour",
    "teaching": "distillation_weight",
}


def format_validation_errors(
    error: ValidationError, lines: Mapping[str, int], cli_keys: set[str], schema: type[BaseModel]
) -> list[str]:
    """Return one message for each invalid key.

    Args:
        lines: line of each dotted key in the recipe file.
        cli_keys: keys from the command line, which have no line.
    """
    messages: dict[str, str] = {}
    keys = [_get_key(detail) for detail in error.errors()]
    for detail, own in zip(error.errors(), keys, strict=True):
        if detail["type"] == "string_type" and any(key.startswith(f"{own}.") for key in keys):
            continue  # it is a list, with errors of its own
        messages.setdefault(_get_key(detail), _format_error(detail, lines, cli_keys, schema))
    return list(messages.values())


def are_all_from_cli(error: ValidationError, cli_keys: set[str]) -> bool:
    """Return whether all errors are in values from the command line."""
    return all(_is_from_cli(_get_key(detail), cli_keys) for detail in error.errors())


def get_field_type(key: str, schema: type[BaseModel]) -> Any:
    """Return the type annotation of the dotted `key` in `schema`, or `None` if there is no such key."""
    model: Any = schema
    annotation: Any = schema
    for part in key.split("."):
        if part.isdigit():
            continue
        field = model.model_fields.get(part) if _is_section(model) else None
        if field is None:
            return None
        annotation = field.annotation
        model = next(_sections_in(annotation), annotation)
    is_item = key.rpartition(".")[2].isdigit()
    return annotation if may_be_text(annotation) and not is_item else model  # text, or a list of sections


def may_be_text(annotation: Any) -> bool:
    """Return whether the type is text, or text or something else."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return annotation is str or (is_union and str in get_args(annotation))


def _format_error(detail: Any, lines: Mapping[str, int], cli_keys: set[str], schema: type[BaseModel]) -> str:
    key = _get_key(detail)
    parent, _, last = key.rpartition(".")
    kind, found = detail["type"], detail.get("input")
    # a missing key is reported at its section
    line = lines.get(parent if kind == "missing" else key)
    place = "" if line is None or _is_from_cli(key, cli_keys) else f"line {line}: "
    if kind == "extra_forbidden":
        if new := _find_renamed(key):
            return f"{place}unknown key '{key}': it is now called '{new}'"
        owner = get_field_type(parent, schema) if parent else schema
        known = list(owner.model_fields) if _is_section(owner) else []
        hint = _suggest_key(last, schema) or suggest_nearest(last, known)
        return f"{place}unknown key '{key}'{hint}; known keys: {', '.join(known)}"
    if kind in (*_SECTION_ERRORS, "list_type") and _is_section(section := get_field_type(key, schema)):
        keys = list(section.model_fields)
        first = f"{key}.0.{keys[0]}" if kind == "list_type" else f"{key}.{keys[0]}"
        return f"{place}{key} is a section, as in {first}=...; known keys: {', '.join(keys)}"
    message = _MESSAGES.get(kind, detail["msg"].removeprefix("Value error, "))
    message = (message[0].lower() + message[1:]).replace("input should be", "must be")
    if not detail["loc"]:
        return message  # of several keys: the message names them
    shown = "" if kind == "missing" or isinstance(found, (dict, list, BaseModel)) else f" (found {found!r})"
    return f"{place}{key}: {message}{shown}"


def _find_renamed(key: str) -> str | None:
    """Return the new name of a key of an earlier version."""
    number = next((part for part in key.split(".") if part.isdigit()), "")
    new = RENAMED_KEYS.get(re.sub(r"\.\d+\.", ".N.", key))
    return new.replace(".N.", f".{number}.") if new else None


def _suggest_key(name: str, schema: type[BaseModel]) -> str:
    """Return ` (did you mean 'stages.0.epochs'?)` if another section has a key of this name, else an empty string."""
    found = [key for key in _list_keys(schema) if key.rpartition(".")[2] == name]
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


def _list_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        section = next(_sections_in(field.annotation), None)
        if section is None:
            yield f"{prefix}{name}"
        else:
            yield from _list_keys(section, f"{prefix}{name}.{'0.' if get_origin(field.annotation) is list else ''}")


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections in a field's annotation: itself, in a list, or in a union."""
    if _is_section(annotation):
        yield annotation
    elif get_origin(annotation) in (list, Union, types.UnionType):
        for inner in get_args(annotation):
            yield from _sections_in(inner)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _get_key(detail: Any) -> str:
    if not detail["loc"]:  # a rule about several keys: its message begins with the key to change
        return detail["msg"].removeprefix("Value error, ").partition(":")[0]
    return ".".join(str(part) for part in detail["loc"] if part != "str" and not str(part).startswith(_UNION_TAGS))


def _is_from_cli(key: str, cli_keys: set[str]) -> bool:
    """Return whether the key or one of its parents is from the command line."""
    return any(f"{key}.".startswith(f"{word}.") for word in cli_keys)
