"""YAML and `key=value` words become a checked recipe; every mistake is named at once, with its line."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from speechxfer.config.recipe import REQUIRED, HeadConfig, Recipe
from speechxfer.config.validation_errors import are_all_from_cli, format_validation_errors, get_field_type
from speechxfer.errors import Problems, UserError, suggest_nearest

Schema = TypeVar("Schema", bound=BaseModel)
ADAPT, WAKEWORD_TRAIN = "adapt", "wakeword train"  # the commands that a recipe may be for
_TYPED = "values on the command line cannot be used"
_BY_HEAD = {"seq2seq": "accent-whisper", "joint": "accent-best", "ctc": "accent-ctc", "classify": "spoken-commands"}
_SEVERAL = {"seq2seq": "staged"}  # instead, for a recipe of several stages
_LENGTH, _RATES = ("epochs", "patience"), ("lr", "encoder_lr", "decoder_lr", "layer_decay")  # of a stage
_OWN_KEYS = {ADAPT: "stages", WAKEWORD_TRAIN: "word"}  # what a recipe for the one has, and for no other


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's numbers and booleans; refuses a key given twice.

    `1e-4` is a number, and `no` is Norwegian, not false.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # super() refuses it
            if key.value in seen:
                raise UserError(f"'{key.value}' stands twice", where=f"line {key.start_mark.line + 1}")
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
    """PyYAML's safe dumper, which also quotes a text that our loader would read as a number."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *resolvers]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def shipped_recipes() -> dict[str, Path]:
    """Name to path of the recipes that come with the package (in a wheel) or stand beside it (in a checkout)."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.rglob("*.yaml"))}
    return {}


def load_recipe(source: str | Path | dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A checked `Recipe`.

    source: a path, a shipped recipe's name, or a mapping. overrides: `encoder.name=...`, `stages.0.epochs=2`; the value
    is read as YAML. A recipe without stages gets those of the shipped recipe for its head (`head.kind`), and a stage
    without epochs (with their patience) or a rate (with the others and their decay) gets theirs, one of several stages
    those of `staged`. Raises UserError that gathers every unknown key (with the nearest known one), wrong type and
    missing value, each with its line where it stands in a file.
    """
    if isinstance(source, dict):
        path, text, values = None, "", copy.deepcopy(source)
    else:
        path = _resolve_recipe_path(source)
        text = _read_recipe_text(path)
        values = _parse(text, path)
        _check_command(values, source, ADAPT)
    problems = Problems(_TYPED)
    typed: set[str] = set()

    def override(words: Sequence[str]) -> None:
        for word in words:
            try:
                typed.add(_override(values, word))
            except UserError as error:
                problems.add(str(error).replace("\n  fix: ", ", "))

    override([word for word in overrides if not word.startswith("stages")])
    shipped = _default_stages(values)
    if values.get("stages") is None and shipped:
        values["stages"] = copy.deepcopy(shipped)
    override([word for word in overrides if word.startswith("stages")])
    _fill_stage_defaults(values.get("stages"), _default_stages(values))
    return _validate(Recipe, values, text, f"{path or 'recipe'} is not a usable recipe", typed, problems)


def load_command_settings(
    schema: type[Schema],
    source: str | Path | None,
    given: Mapping[str, Any],
    *,
    command: str,
    absent: Mapping[str, Any],
) -> Schema:
    """A checked recipe of another vocabulary than `Recipe`: that of `command`.

    source: a path or a shipped recipe's name; None: there is no file. given: values that go before the file's;
    absent: values for keys that neither has. Raises UserError as `load_recipe` does.
    """
    title, text, values = f"speechxfer {command}: values that cannot be used", "", {}
    if source is not None:
        path = _resolve_recipe_path(source)
        title, text = f"{path} is not a usable recipe", _read_recipe_text(path)
        values = _parse(text, path)
        _check_command(values, source, command)
    return _validate(schema, {**absent, **values, **given}, text, title, set(given), Problems(_TYPED))


def detect_command(path: Path) -> str:
    """The command that a recipe's file is for: `ADAPT` or `WAKEWORD_TRAIN`. Raises UserError for what is no recipe."""
    values = _parse(_read_recipe_text(path), path)
    return next((command for command, key in _OWN_KEYS.items() if key in values), ADAPT)


def require_values(recipe: Recipe) -> None:
    """Raise UserError for every value that the recipe leaves to the user and the user did not give."""
    problems = Problems("the recipe needs values that only you can give")
    for key, value in _flatten(recipe.model_dump()):
        if value == REQUIRED:
            problems.add(f"{key}: say {key}=... on the command line")
    problems.raise_if_any()


def dump_recipe(recipe: BaseModel) -> str:
    """The recipe as YAML with every default filled in."""
    values = recipe.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _resolve_recipe_path(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    known = shipped_recipes()
    name = path.stem if path.suffix in (".yaml", ".yml") else str(source)
    if name in known and (str(source) == name or path.parent.name == "recipes"):
        return known[name]
    if "=" in str(source):
        raise UserError("is no recipe", where=str(source), fix=f"name one first: {', '.join(known)}, or a file")
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
    """The one document of `text`. Raises yaml.YAMLError, or ValueError (a date that is none, endless nesting)."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    finally:
        loader.dispose()


def _validate(
    schema: type[Schema], values: dict[str, Any], text: str, title: str, typed: set[str], problems: Problems
) -> Schema:
    """The values as `schema` has them, or every mistake in one UserError.

    text: the YAML that they stand in, if any. title: heads the message unless all mistakes, those in `problems` too,
    were typed.
    """
    try:
        found = schema.model_validate(values)
    except ValidationError as error:
        if not are_all_from_cli(error, typed):
            beside = f", with {', '.join(sorted(typed))} as typed" if typed else ""  # the two may not go together
            problems.title, problems.fix = title + beside, "see `speechxfer recipes` for working ones"
        problems.found.extend(format_validation_errors(error, _key_lines(text) if text else {}, typed, schema))
        problems.raise_if_any()
        raise
    problems.raise_if_any()
    return found


def _default_stages(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The stages of the shipped recipe for this head and so many stages; none for a head that will be refused."""
    head, stages = values.get("head") or {}, values.get("stages")
    kind = head.get("kind", HeadConfig().kind) if isinstance(head, dict) else None
    if not isinstance(kind, str) or kind not in _BY_HEAD:
        return []
    several = isinstance(stages, list) and len(stages) > 1
    path = shipped_recipes().get(_SEVERAL.get(kind, _BY_HEAD[kind]) if several else _BY_HEAD[kind])
    return _parse(_read_recipe_text(path), path)["stages"] if path else []


def _fill_stage_defaults(stages: Any, shipped: list[dict[str, Any]]) -> None:
    """Give a stage without epochs or a rate those of the shipped stage that trains the like, else of the last.

    With the epochs comes their patience, and with the rate those that differ from it: they were chosen together.
    """
    for stage in stages if isinstance(stages, list) and shipped else []:
        if isinstance(stage, dict):
            like = next(
                (one for one in shipped if _is_same_trainable(one["train"]) == _is_same_trainable(stage.get("train"))),
                shipped[-1],
            )
            for keys in (_LENGTH, _RATES):
                if keys[0] not in stage:
                    stage.update({key: like[key] for key in keys if key in like and key not in stage})


def _is_same_trainable(train: Any) -> set[str]:
    """What a stage trains, whatever number of upper layers, in whatever order."""
    return {re.sub(r"^top-\d+$", "top", str(part)) for part in (train if isinstance(train, list) else [train])}


def _check_command(values: dict[str, Any], source: str | Path, command: str) -> None:
    """Raise UserError for a recipe of another command than `command`."""
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
        raise UserError("a recipe is a mapping of keys (data, encoder, head, stages, ...)", where=str(path))
    return values


def _override(values: dict[str, Any], word: str) -> str:
    """Put one `key=value` word into `values`; the dotted key."""
    key, equals, raw = word.partition("=")
    if not equals or not key:
        raise UserError(f"'{word}' is not key=value", fix="for example stages.0.epochs=2 or data.train=train.csv")
    try:
        value = _read_yaml(raw)
    except (yaml.YAMLError, ValueError):
        value = raw  # a path with a colon, say
    if _is_text(key, value) and raw[:1] not in "'\"":
        value = raw  # `data.group=0001` stays text
    *parents, last = key.split(".")
    place: Any = values
    for parent in parents:
        place = _descend(place, parent, word)
    if isinstance(place, list):
        place[_index(place, last, word)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise UserError(f"'{word}' reaches into a plain value")
    return key


def _descend(place: Any, name: str, word: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, name, word)]
    if isinstance(place, dict):
        if place.get(name) is None:
            place[name] = {}
        return place[name]
    raise UserError(f"'{word}' reaches into a plain value")


def _index(place: list, name: str, word: str) -> int:
    if name.isdigit() and int(name) < len(place):
        return int(name)
    raise UserError(f"'{word}': there is no item {name}; the list has {len(place)}, counted from 0")


def _is_text(key: str, value: Any) -> bool:
    kind = get_field_type(key, Recipe)
    return kind is str or (kind == (str | None) and value is not None)


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
    """Dotted key to the line (from 1) where it stands."""
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
