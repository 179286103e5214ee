"""Names are unique, modules tested, functions short and simple, as scripts/count_structure.py counts them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("radon", reason="radon, of the extra 'dev', is not installed")

ROOT = Path(__file__).parents[2]


def load_script(name: str) -> ModuleType:
    """Load a module of scripts/ by its path, which is on Python's path meanwhile: its helpers are next to it."""
    spec = importlib.util.spec_from_file_location(f"contract_{name.strip('_')}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return module


structure = load_script("_structure")
FILES = structure.read_package(ROOT)


def test_the_package_is_read() -> None:
    assert {"cli/score.py", "scoring/scorer.py", "adaptation/run.py"} <= {file.name for file in FILES}


def test_a_public_name_is_defined_in_one_file() -> None:
    counts = structure._count_names(FILES, load_script("count_structure").ALLOWED_NAMES)
    assert counts["unreasoned_names"].value == 0, counts["duplicate_names"].items
    assert counts["unused_reasons"].items == []


def test_a_module_of_over_30_statements_has_a_test_file() -> None:
    assert structure._count_untested(ROOT, FILES, large=True).items == []


def test_no_imports_in_a_circle() -> None:
    assert structure._count_cycles(FILES, in_functions=False).items == []


def test_functions_have_at_most_60_lines() -> None:
    assert structure._count_long_functions(FILES, with_signature=False).items == []


def test_commands_have_at_most_40_lines() -> None:
    assert structure._count_long_commands(FILES).items == []


def test_functions_are_below_complexity_d() -> None:
    assert structure._count_complex_functions(FILES).items == []


def test_functions_have_at_most_8_parameters() -> None:
    assert structure._count_parameters(FILES).items == []


def test_files_have_at_most_400_lines() -> None:
    assert structure._count_long_files(FILES, "").items == []
