"""What pydantic found wrong with a recipe, in words that name the key, its line and what to write instead."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from speechxfer.errors import suggest_nearest

_WORDS = {  # pydantic's name of a mistake: ours, where its own speaks of its inside
    "missing": "is missing",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list, as in [a, b]",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}
_SECTION = ("model_type", "model_attributes_type", "dict_type")


def format_validation_errors(
    error: ValidationError, lines: Mapping[str, int], typed: set[str], schema: type[BaseModel]
) -> list[str]:
    """One line for each key that is wrong, however many types pydantic tried for it.

    lines: dotted key to the line where the recipe's file has it. typed: the keys of the command line, which have none.
    """
    explained: dict[str, str] = {}
    for detail in error.errors():
        explained.setdefault(_key(detail), _sentence(detail, lines, typed, schema))
    return list(explained.values())


def are_all_from_cli(error: ValidationError, typed: set[str]) -> bool:
    """Whether everything that is wrong was said on the command line."""
    return all(_is_from_cli(_key(detail), typed) for detail in error.errors())


def get_field_type(key: str, schema: type[BaseModel]) -> Any:
    """The annotation of the dotted `key` in `schema`; None for a key that it lacks."""
    model: Any = schema
    for part in key.split("."):
        if part.isdigit():
            continue
        field = model.model_fields.get(part) if _is_section(model) else None
        if field is None:
            return None
        model = next(_sections_in(field.annotation), field.annotation)
    return model


def _sentence(detail: Any, lines: Mapping[str, int], typed: set[str], schema: type[BaseModel]) -> str:
    key = _key(detail)
    parent, _, last = key.rpartition(".")
    kind, found = detail["type"], detail.get("input")
    # what is missing is looked for where its section stands
    line = lines.get(parent if kind == "missing" else key)
    place = "" if line is None or _is_from_cli(key, typed) else f"line {line}: "
    if kind == "extra_forbidden":
        owner = get_field_type(parent, schema) if parent else schema
        known = list(owner.model_fields) if _is_section(owner) else []
        hint = _suggest_key(last, schema) or suggest_nearest(last, known)
        return f"{place}unknown key '{key}'{hint}; known here: {', '.join(known)}"
    if kind in (*_SECTION, "list_type") and _is_section(section := get_field_type(key, schema)):
        keys = list(section.model_fields)
        first = f"{key}.0.{keys[0]}" if kind == "list_type" else f"{key}.{keys[0]}"
        return f"{place}{key} holds keys of its own, as in {first}=...; known here: {', '.join(keys)}"
    message = _WORDS.get(kind, detail["msg"].removeprefix("Value error, "))
    message = (message[0].lower() + message[1:]).replace("input should be", "must be")
    if not detail["loc"]:
        return message  # of several keys together: it names them itself
    shown = "" if kind == "missing" or isinstance(found, (dict, list, BaseModel)) else f" (found {found!r})"
    return f"{place}{key}: {message}{shown}"


def _suggest_key(name: str, schema: type[BaseModel]) -> str:
    """` (did you mean 'stages.0.epochs'?)` for a key that another section has."""
    found = [key for key in _keys(schema) if key.rpartition(".")[2] == name]
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


def _keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        section = next(_sections_in(field.annotation), None)
        if section is None:
            yield f"{prefix}{name}"
        else:
            yield from _keys(section, f"{prefix}{name}.{'0.' if get_origin(field.annotation) is list else ''}")


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The section that a field is, or is a list of, or may be."""
    if _is_section(annotation):
        yield annotation
    elif get_origin(annotation) in (list, Union, types.UnionType):
        for inner in get_args(annotation):
            yield from _sections_in(inner)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _key(detail: Any) -> str:
    if not detail["loc"]:  # a rule of several keys: its message begins with the one to change
        return detail["msg"].removeprefix("Value error, ").partition(":")[0]
    return ".".join(str(part) for part in detail["loc"] if not str(part).startswith(("list[", "literal[", "function-")))


def _is_from_cli(key: str, typed: set[str]) -> bool:
    """Whether the key, or what it stands in, is one of the command line's."""
    return any(f"{key}.".startswith(f"{word}.") for word in typed)
