"""The command line, the scripts and the recipes promise nothing that no code reads; help states the code's defaults."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from pydantic import BaseModel
from typer.testing import CliRunner

import speechxfer
from speechxfer.cli import build_app
from speechxfer.config import Recipe

PACKAGE = Path(speechxfer.__file__).parent
SCRIPTS = sorted((PACKAGE.parent / "scripts").rglob("*.py"))
STATED = re.compile(r"\bdefaults?(?: is| to|:)? ([^\s,;)]+)")
# what stands in for a value that is worked out when it is needed; tests of the command or of `adapt` hold these
WORKED_OUT = {"recipes copy, target": "NAME.yaml."}


def commands(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """(words, click command) of everything that does something: `score`, `recipes`, `recipes copy`, ..."""
    command = command or typer.main.get_command(build_app())
    inner = getattr(command, "commands", {})
    if name and (not inner or command.invoke_without_command):
        yield name, command
    for word, each in inner.items():
        yield from commands(each, f"{name} {word}".strip())


COMMANDS = dict(commands())


def function_of(command: Any) -> Callable[..., Any]:
    """The verb itself, under Typer's and our own wrapping."""
    return inspect.unwrap(command.callback)


def unread(function: Callable[..., Any]) -> set[str]:
    """Parameters of a function that its body never loads."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    loaded = {
        node.id
        for line in tree.body
        for node in ast.walk(line)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    return set(inspect.signature(function).parameters) - loaded


def misstated(text: str, default: Any) -> list[str]:
    """Defaults that a text states and that are not the code's; those of `None` are for `WORKED_OUT`."""
    return [words for words in STATED.findall(text) if words.rstrip(".") != str(default)]


def test_the_checks_see_what_they_are_for():
    def verb(read: int = 1, ignored: int = 2, overwritten: int = 3) -> int:
        overwritten = read  # noqa: F841
        return read

    assert unread(verb) == {"ignored", "overwritten"}
    assert misstated("How many; default 5.", 5) == [] and misstated("How many (default: 4)", 5) == ["4"]
    assert misstated("none, basic, default, english", "none") == []


def test_the_commands_are_found():
    assert {"demo", "check", "adapt", "evaluate", "score", "recipes", "recipes copy", "cache", "cache clear"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_read(name):
    function = function_of(COMMANDS[name])
    asked = {parameter.name for parameter in COMMANDS[name].params} - {"help"}
    assert asked <= set(inspect.signature(function).parameters)
    assert unread(function) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_it_takes_json_and_quiet_and_explains_every_option(name):
    options = {word: parameter for parameter in COMMANDS[name].params for word in parameter.opts}
    assert {"--json", "--quiet"} <= set(options)
    for word, parameter in options.items():
        assert parameter.help and len(parameter.help) > 5, word


@pytest.mark.parametrize("name", COMMANDS)
def test_help_states_the_code_s_defaults(name):
    command = COMMANDS[name]
    signature = inspect.signature(function_of(command))
    done = CliRunner().invoke(build_app(), [*name.split(), "--help"], terminal_width=200)
    assert done.exit_code == 0, done.output
    flat = " ".join(done.output.split())
    for parameter in command.params:
        if parameter.name == "help":
            continue
        default = signature.parameters[parameter.name].default
        stated = misstated(parameter.help, default)
        if default is None or default is inspect.Parameter.empty:
            assert stated in ([], [WORKED_OUT.get(f"{name}, {parameter.name}")]), parameter.name
        else:
            assert stated == [], parameter.name
            if not isinstance(default, bool):
                words = re.escape(" ".join(parameter.help.split()))
                assert re.search(rf"{words} \[default: {re.escape(str(default))}[];]", flat), parameter.name


def imports(path: Path) -> list[tuple[str, str | None]]:
    """(module, name) of every import of a file at any depth, those of annotations too."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(str(node.module), alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_verb_imports_when_it_runs_is_there(path):
    for module, name in imports(path):
        loaded = importlib.import_module(module)
        if name is not None and not hasattr(loaded, name):
            importlib.import_module(f"{module}.{name}")


# -- scripts ---------------------------------------------------------------------------------------------------------
def script_options(tree: ast.AST) -> dict[str, ast.Call]:
    """The name under which argparse keeps each option, and the call that adds it."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            words = [word.value for word in node.args if isinstance(word, ast.Constant)]
            longest = max((str(word) for word in words), key=len)
            found[longest.lstrip("-").replace("-", "_")] = node
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_option_of_a_script_is_read_and_its_default_is_not_typed_twice(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    options = script_options(tree)
    if ("_measuring", "options") in imports(path):  # what the benches share, each reads itself
        options |= script_options(ast.parse((path.parent / "_measuring.py").read_text(encoding="utf-8")))
    read = {name for _, name in reads(tree)}
    for name, call in options.items():
        assert name in read or path.stem == "_measuring", f"nothing reads {name}"
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        words, default = given.get("help"), given.get("default")
        if isinstance(words, ast.Constant) and isinstance(default, ast.Constant):
            assert STATED.findall(words.value.replace("%(default)s", "")) == [], name


# -- recipes ---------------------------------------------------------------------------------------------------------
def sections(model: type[BaseModel] = Recipe, name: str = "recipe") -> Iterator[tuple[str, type[BaseModel]]]:
    """(what it is called in code, schema) of a recipe and of every section in it."""
    yield name, model
    for key, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from sections(kind, key.removesuffix("s") if key == "stages" else key)


def reads(tree: ast.AST) -> set[tuple[str, str]]:
    """(owner, attribute) of every attribute that a file loads: `self.recipe.data.limit` gives (data, limit)."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            found.add((name, node.attr))
    return found


def all_reads() -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "config" / "recipe.py":  # its own checks use nothing
            here = reads(ast.parse(path.read_text(encoding="utf-8")))
            if path == PACKAGE / "data" / "augment.py":  # takes the section under another name
                here = {("augment" if owner == "settings" else owner, name) for owner, name in here}
            found |= here
    return found


def test_reads_are_seen_by_their_owner():
    tree = ast.parse("x = self.recipe.data.limit + data.case\ndata.skip_bad = 1\nother.group")
    assert reads(tree) >= {("data", "limit"), ("data", "case"), ("other", "group")}
    assert ("data", "skip_bad") not in reads(tree) and ("data", "group") not in reads(tree)


def test_every_key_of_a_recipe_is_read():
    known, found = all_reads(), dict(sections())
    assert set(found) >= {"recipe", "data", "encoder", "head", "stage", "decoding", "scoring", "augment", "cache"}
    assert set(found) >= {"lora", "candidates"}
    keys = {(section, key) for section, model in found.items() for key in model.model_fields}
    assert len(keys) > 50
    assert keys - known == set()


@pytest.mark.parametrize("name, model", dict(sections()).items())
def test_descriptions_of_a_recipe_s_keys_state_its_defaults(name, model):
    for key, field in model.model_fields.items():
        stated = misstated(field.description or "", field.default)
        # a default of None is computed when it is needed, and the description says how
        assert field.default is None or field.is_required() or stated == [], f"{name}.{key}"


# -- options that every verb has -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_h_is_help(name):
    short, long = (CliRunner().invoke(build_app(), [*name.split(), option]) for option in ("-h", "--help"))
    assert short.exit_code == long.exit_code == 0 and short.output == long.output
    assert "-h, --help" in short.output


@pytest.mark.parametrize("name", COMMANDS)
def test_normalisation_has_one_name_in_either_spelling(name):
    spellings = [set(parameter.opts) for parameter in COMMANDS[name].params if parameter.name.startswith("normali")]
    assert spellings in ([], [{"--normalise", "--normalize"}])


def test_shells_complete_commands_and_options():
    environment = {"COMP_WORDS": "speechxfer score --no", "COMP_CWORD": "2", "_SPEECHXFER_COMPLETE": "complete_bash"}
    done = CliRunner().invoke(build_app(), prog_name="speechxfer", env=environment)
    assert done.stdout.split() == ["--normalise", "--normalize", "--notation"]
