"""Loading of recipes from YAML and `key=value` overrides; all errors are reported at once, with their lines."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from speechxfer.config.default_stages import fill_stage_defaults, find_default_stages
from speechxfer.config.recipe import REQUIRED, Recipe
from speechxfer.config.validation_errors import are_all_from_cli, format_validation_errors, get_field_type, may_be_text
from speechxfer.errors import Problems, UserError, suggest_nearest

Schema = TypeVar("Schema", bound=BaseModel)
ADAPT, WAKEWORD_TRAIN = "adapt", "wakeword train"  # commands that take a recipe
_DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_CLI_TITLE = "values on the command line cannot be used"
_MAX_VALUES = 100_000  # of a recipe: far more than one has, few enough to be read in seconds
_OWN_KEYS = {ADAPT: "stages", WAKEWORD_TRAIN: "word"}  # a key that only this command's recipes have


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers and booleans of YAML 1.2; rejects duplicate keys.

    `1e-4` is a number, and `no` is text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # super() rejects it
            if key.value in seen:
                raise UserError(f"duplicate key '{key.value}'", where=f"line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; also quotes text that `_Loader` would read as a number."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *resolvers]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def shipped_recipes() -> dict[str, Path]:
    """Return the paths of the shipped recipes by name: in the package (wheel) or next to it (checkout)."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.rglob("*.yaml"))}
    return {}


def load_recipe(source: str | Path | dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Load and validate a recipe.

    Args:
        source: a path, a shipped recipe's name, or a mapping.
        overrides: `encoder.name=...`, `stages.0.epochs=2`; values are read as YAML.

    A recipe without stages gets the default stages of its head (`config/default_stages.py`); a stage without epochs or
    a learning rate gets those of the default stage that trains the same parts.

    Raises:
        UserError: lists every unknown key (with the nearest known one), wrong type and missing value, with its line.
    """
    if isinstance(source, dict):
        path, text, values = None, "", copy.deepcopy(source)
    else:
        path = _resolve_recipe_path(source)
        text = _read_recipe_text(path)
        values = _parse(text, path)
        _check_command(values, source, ADAPT)
    problems = Problems(_CLI_TITLE)
    cli_keys: set[str] = set()

    def override(words: Sequence[str]) -> None:
        for word in words:
            try:
                cli_keys.add(_override(values, word))
            except UserError as error:
                problems.add(str(error).replace("\n  fix: ", ", "))

    override([word for word in overrides if not word.startswith("stages")])
    if values.get("stages") is None and (defaults := find_default_stages(values)):
        values["stages"] = defaults
    override([word for word in overrides if word.startswith("stages")])
    fill_stage_defaults(values.get("stages"), find_default_stages(values))
    return _validate(Recipe, values, text, f"{path or 'recipe'} is not a valid recipe", cli_keys, problems)


def load_command_settings(
    schema: type[Schema],
    source: str | Path | None,
    given: Mapping[str, Any],
    *,
    command: str,
    absent: Mapping[str, Any],
) -> Schema:
    """Load and validate a recipe of another command, with its own schema.

    Args:
        source: a path or a shipped recipe's name; `None`: no file.
        given: values that take precedence over the file's.
        absent: values for keys that neither has.

    Raises:
        UserError: as `load_recipe` does.
    """
    title, text, values = f"speechxfer {command}: invalid values", "", {}
    if source is not None:
        path = _resolve_recipe_path(source)
        title, text = f"{path} is not a valid recipe", _read_recipe_text(path)
        values = _parse(text, path)
        _check_command(values, source, command)
    return _validate(schema, {**absent, **values, **given}, text, title, set(given), Problems(_CLI_TITLE))


def detect_command(path: Path) -> str:
    """Return the command that a recipe file is for: `ADAPT` or `WAKEWORD_TRAIN`.

    Raises:
        UserError: if it is not a recipe.
    """
    values = _parse(_read_recipe_text(path), path)
    return next((command for command, key in _OWN_KEYS.items() if key in values), ADAPT)


def require_values(recipe: Recipe) -> None:
    """Check that the user has given every required value.

    Raises:
        UserError: lists the missing values.
    """
    problems = Problems("the recipe requires values that only you can give")
    for key, value in _flatten(recipe.model_dump()):
        if value == REQUIRED:
            problems.add(f"{key}: set {key}=... on the command line")
    problems.raise_if_any()


def dump_recipe(recipe: BaseModel) -> str:
    """Return the recipe as YAML, with all defaults filled in."""
    values = recipe.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _resolve_recipe_path(source: str | Path) -> Path:
    path = Path(source)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in _DATA_SUFFIXES):
        fix = f"name a recipe first: speechxfer adapt accent-whisper data.train={source}"
        raise UserError("is DATA, not a recipe", where=str(source), fix=fix)
    if path.is_file():
        return path
    known = shipped_recipes()
    name = path.stem if path.suffix in (".yaml", ".yml") else str(source)
    if name in known and (str(source) == name or path.parent.name == "recipes"):
        return known[name]
    if "=" in str(source):
        fix = f"give a recipe first: {', '.join(known)}, or a file"
        raise UserError("is not a recipe", where=str(source), fix=fix)
    raise UserError(
        f"no such recipe: neither a file nor one of {', '.join(known)}{suggest_nearest(str(source), known)}",
        where=str(source),
    )


def _read_recipe_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 text (byte {error.start})", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path)) from None


def _read_yaml(text: str) -> Any:
    """Read a single YAML document; raises yaml.YAMLError or ValueError (invalid date, too deep or large)."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("a number has thousands of digits") from None
        raise
    finally:
        loader.dispose()


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    """Count the values of a node with its aliases expanded: a few lines of nested aliases can be billions.

    Raises:
        ValueError: for a node that contains itself, or more than `_MAX_VALUES` values.
    """
    if id(node) in counts:
        count = counts[id(node)]
        if count == 0:
            raise ValueError("a value contains itself, by an alias")
        return count
    counts[id(node)] = 0  # until it is complete
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    count = 1 + sum(_count_values(child, counts) for child in children)
    if count > _MAX_VALUES:
        raise ValueError(f"more than {_MAX_VALUES:,} values, with its aliases expanded")
    counts[id(node)] = count
    return count


def _validate(
    schema: type[Schema], values: dict[str, Any], text: str, title: str, cli_keys: set[str], problems: Problems
) -> Schema:
    """Validate values against a schema; raises one UserError with all errors and `problems`.

    Args:
        text: the YAML source of the values, if any.
        title: first line of the message, unless all errors come from the command line.
    """
    try:
        validated = schema.model_validate(values)
    except ValidationError as error:
        if not are_all_from_cli(error, cli_keys):
            overridden = f", with {', '.join(sorted(cli_keys))} from the command line" if cli_keys else ""
            problems.title, problems.fix = title + overridden, "see `speechxfer recipes` for examples"
        lines = _key_lines(text) if text else {}
        problems.found.extend(format_validation_errors(error, lines, cli_keys, schema))
        problems.raise_if_any()
        raise
    problems.raise_if_any()
    return validated


def _check_command(values: dict[str, Any], source: str | Path, command: str) -> None:
    """Raise UserError if the recipe is for another command than `command`."""
    for other, key in _OWN_KEYS.items():
        if other != command and key in values and _OWN_KEYS[command] not in values:
            fix = {
                ADAPT: f"speechxfer adapt {source}",
                WAKEWORD_TRAIN: f"speechxfer wakeword train WORD --recipe {source}",
            }
            raise UserError(f"is a recipe for `speechxfer {other}`", where=str(source), fix=fix[other])


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        values = _read_yaml(text)
    except UserError as error:
        raise UserError(error.problem, where=f"{path}, {error.where}") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"not readable as YAML: {getattr(error, 'problem', error)}", where=f"{path}{line}") from None
    if not isinstance(values, dict):
        problem = "not a recipe: a recipe is a mapping of keys (data, encoder, head, stages, ...)"
        raise UserError(problem, where=str(path))
    return values


def _override(values: dict[str, Any], word: str) -> str:
    """Apply a `key=value` override to `values`; returns the dotted key."""
    key, equals, raw = word.partition("=")
    if not equals or not key:
        raise UserError(f"'{word}' is not key=value", fix="for example stages.0.epochs=2 or data.train=train.csv")
    try:
        value = _read_yaml(raw)
    except (yaml.YAMLError, ValueError):
        value = raw  # e.g. a path with a colon
    if _is_text(key, value) and raw[:1] not in "'\"":
        value = raw  # `data.group=0001` stays text
    *parents, last = key.split(".")
    node: Any = values
    for parent in parents:
        node = _descend(node, parent, word)
    if isinstance(node, list):
        node[_parse_index(node, last, word)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise UserError(f"'{word}': a plain value has no keys")
    return key


def _descend(node: Any, name: str, word: str) -> Any:
    if isinstance(node, list):
        return node[_parse_index(node, name, word)]
    if isinstance(node, dict):
        if node.get(name) is None:
            node[name] = {}
        return node[name]
    raise UserError(f"'{word}': a plain value has no keys")


def _parse_index(items: list, name: str, word: str) -> int:
    if name.isdigit() and int(name) < len(items):
        return int(name)
    raise UserError(f"'{word}': there is no item {name}; the list has {len(items)} items, counted from 0")


def _is_text(key: str, value: Any) -> bool:
    """Return whether the value of `key` is text."""
    kind = get_field_type(key, Recipe)
    return kind is str or (may_be_text(kind) and value is not None and not isinstance(value, list))


def _flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _flatten(value, f"{prefix}.{index}")
    else:
        yield prefix, values


def _key_lines(text: str) -> dict[str, int]:
    """Return the line (from 1) of each dotted key."""
    found: dict[str, int] = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = f"{prefix}.{key.value}" if prefix else str(key.value)
                found[name] = key.start_mark.line + 1
                walk(value, name)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                found[f"{prefix}.{index}"] = item.start_mark.line + 1
                walk(item, f"{prefix}.{index}")

    loader = _Loader(text)
    try:
        walk(loader.get_single_node(), "")
    finally:
        loader.dispose()
    return found
