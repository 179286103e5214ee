"""Functions stay short, simple and with few parameters, as scripts/count_structure.py counts them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("radon", reason="radon, of the extra 'dev', is not installed")

ROOT = Path(__file__).parents[2]


def load_counting() -> ModuleType:
    """Load the module with the counting functions of scripts/count_structure.py, by its path."""
    spec = importlib.util.spec_from_file_location("contract_structure", ROOT / "scripts" / "_structure.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


structure = load_counting()
FILES = structure.read_package(ROOT)


def test_the_package_is_read() -> None:
    assert {"cli/score.py", "scoring/scorer.py", "adaptation/run.py"} <= {file.name for file in FILES}


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
