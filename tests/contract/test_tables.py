"""The documents' tables are those of recipes/results, and every file there is in one of them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "recipes" / "results").glob("*.json"))
RECIPES = {path.stem for path in (ROOT / "recipes").rglob("*.yaml")}


def script(name: str) -> ModuleType:
    """A script as a module, what lies beside it importable."""
    if str(ROOT / "scripts") not in sys.path:
        sys.path.insert(0, str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location(f"contract_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["tables", "reference"])
def test_documents_are_in_step_with_the_results_and_the_package(name):
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_recipe_has_its_row():
    page = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert RECIPES
    for name in RECIPES:
        assert f"| [{name}]({name}.yaml) | " in page and f"\n## {name}\n" in page


def test_every_key_of_a_recipe_is_explained(monkeypatch):
    from speechxfer.config import load_recipe

    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    explained = {key: what for key, _, what in script("_keys").keys()}  # noqa: SIM118
    whole = load_recipe({"stages": [{"train": "head", "epochs": 1, "lr": 1}]}).model_dump()
    (stage,) = whole.pop("stages")
    sections = {name: value for name, value in whole.items() if isinstance(value, dict)}
    stated = {f"stages.N.{name}" for name in stage} | (whole.keys() - sections.keys())
    stated |= {f"{name}.{key}" for name, section in sections.items() for key in section}
    assert explained.keys() == stated and all(explained.values())


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_results_file_is_read_by_a_table_and_says_how_it_was_made(path):
    tables = script("tables")
    document = json.loads(path.read_text(encoding="utf-8"))
    others = {*tables.BENCHES, *tables.WAKE_WORDS, tables.FOLDS, tables.METHODS, "bench-coverage"}
    assert document.get("recipe") in RECIPES or path.stem in others
    made_by = document["command"]
    assert made_by
    if made_by.startswith("python scripts/"):
        assert (ROOT / made_by.split()[1]).is_file()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_no_results_file_tells_a_path_of_a_machine(path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    found = script("keep_result").paths_in(json.loads(path.read_text(encoding="utf-8")))
    assert list(found) == []


def test_make_bench_runs_every_bench_that_needs_no_gpu():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    looped = text.partition("for bench in ")[2].partition(";")[0].split()
    written = {path.stem for path in (ROOT / "scripts" / "bench").glob("[!_]*.py")}
    # a card, most of an hour, or a trained model
    apart = {"gpu", "check", "methods", "long_files", "wyoming_clients"}
    apart |= {name for name in written if name.startswith(("wakeword_", "against_"))}
    assert {*looped} == written - apart
