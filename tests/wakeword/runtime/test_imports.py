"""The runtime imports numpy and onnxruntime, and nothing else of speechxfer, so that it can run alone on a device."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from speechxfer.wakeword import runtime

PACKAGE = "speechxfer.wakeword.runtime"
FILES = sorted(Path(runtime.__file__).parent.glob("*.py"))
EVERYWHERE = {"numpy"}
IN_FUNCTIONS = {"onnxruntime", "soundfile", "sounddevice", "soxr", "wyoming"}  # imported by those that use them only


def imported_modules(tree: ast.AST) -> set[str]:
    """The modules that are imported anywhere below `tree`, under TYPE_CHECKING too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(str(node.module))
    return names


def without_functions_and_types(tree: ast.Module) -> ast.Module:
    """The statements that run when the module is imported."""
    body = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    return ast.Module([node for node in body if not isinstance(node, ast.If)], [])


def foreign(names: set[str]) -> set[str]:
    """Modules that are neither of Python nor of the runtime itself."""
    outside = {name for name in names if name != PACKAGE and not name.startswith(f"{PACKAGE}.")}
    return {name for name in outside if name.split(".")[0] not in sys.stdlib_module_names}


def test_the_check_sees_imports_in_functions() -> None:
    tree = ast.parse("import numpy\ndef f():\n    from speechxfer.errors import UserError\n    import torch")
    assert foreign(imported_modules(tree)) == {"numpy", "speechxfer.errors", "torch"}
    assert foreign(imported_modules(without_functions_and_types(tree))) == {"numpy"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_imports_nothing_else(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert {name.split(".")[0] for name in foreign(imported_modules(tree))} <= EVERYWHERE | IN_FUNCTIONS
    assert foreign(imported_modules(without_functions_and_types(tree))) <= EVERYWHERE


def test_all_files_are_imported_without_the_rest_of_the_package() -> None:
    """In a process in which an import of anything else fails; `speechxfer` and `speechxfer.wakeword` are namespaces."""
    modules = [f"{PACKAGE}.{path.stem}" for path in FILES if path.stem != "__init__"]
    assert len(modules) >= 7
    program = f"""
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        ours = name in ("speechxfer", "speechxfer.wakeword") or name.startswith({PACKAGE!r})
        if name.startswith("speechxfer") and not ours:
            raise ImportError(f"{{name}} is blocked")
        if name.split(".")[0] in ("torch", "torchaudio", "transformers", "pydantic", "typer", "rich", "soundfile"):
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
for module in {modules!r}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
