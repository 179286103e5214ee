"""The order of the package: a file imports from its own folder or from a lower rank, and scoring needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import speechxfer

PACKAGE = Path(speechxfer.__file__).parent
RANKS = {
    "errors": 0,
    "escaping": 0,
    "atomic": 0,
    "progress": 0,
    "registry": 1,
    "config": 2,
    "tables": 2,
    "text": 2,
    "scoring": 3,
    "report": 4,
    "shapes": 4,
    "distributed": 4,
    "torchaudio_import": 4,
    "data": 4,
    "encoders": 5,
    "heads": 6,
    "decoding": 7,
    "models": 8,
    "adaptation": 9,
    "wakeword": 10,
    "export": 10,
    "cli": 11,
}
SIDEWAYS = {("data", "shapes")}  # within a rank, this way only
FREE = {"__init__", "__main__"}  # of the package itself: they reach anything, lazily
LIGHT = ("errors", "escaping", "atomic", "progress", "registry", "config", "tables", "text", "scoring", "report")
FILES = sorted(PACKAGE.rglob("*.py"))


def get_top_level(path: Path) -> str:
    """Return the folder, or the top-level file, that has a rank."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> list[tuple[int, str]]:
    """(line, part) of every import of the package in a file, at any depth, under TYPE_CHECKING too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides what it reaches"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "speechxfer" else [module]
        found += [(node.lineno, name.split(".")[1]) for name in names if name.startswith("speechxfer.")]
    return found


def may_import(importer: str, imported: str) -> bool:
    if importer == imported or (importer, imported) in SIDEWAYS:
        return True
    return RANKS[imported] < RANKS[importer]


@pytest.mark.parametrize(
    "importer, imported, allowed",
    [
        ("cli", "adaptation", True),
        ("adaptation", "cli", False),
        ("data", "shapes", True),
        ("shapes", "data", False),
        ("report", "data", False),
        ("data", "report", False),
        ("text", "config", False),
        ("scoring", "scoring", True),
        ("encoders", "heads", False),
    ],
)
def test_the_rule_itself(importer, imported, allowed):
    assert may_import(importer, imported) is allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_from_its_own_folder_or_a_lower_rank(path):
    part = get_top_level(path)
    if part in FREE:
        return
    assert part in RANKS, f"give {part} a rank"
    wrong = [f"line {line}: speechxfer.{other}" for line, other in imported_parts(path) if not may_import(part, other)]
    assert not wrong, f"{path.relative_to(PACKAGE)} reaches up or sideways: {wrong}"


def modules_of(part: str) -> list[str]:
    """Dotted names of every module of a part."""
    paths = [path for path in FILES if get_top_level(path) == part]
    return [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in paths
    ]


@pytest.mark.parametrize("modules", [["speechxfer", "speechxfer.cli"], *map(modules_of, LIGHT)], ids=lambda m: m[0])
def test_light_parts_never_import_torch_even_indirectly(modules):
    heavy = ("torch", "torchaudio", "transformers", "datasets")
    imports = "".join(f"import {name}\n" for name in modules)
    program = f"{imports}import sys\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_command_line_starts_without_torch():
    program = "import sys\nfrom speechxfer.cli import build_app\nbuild_app()\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
