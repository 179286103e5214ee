"""Only cli/_echo.py and report/console.py, which escape control characters, write to the terminal."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "speechxfer"
FILES = sorted(PACKAGE.rglob("*.py"))
ALLOWED = {
    "cli/_echo.py",
    "report/console.py",  # with a console in memory, which measures the width of a table
}
PRINTING = {"print", "Console", "typer.echo", "typer.secho", "click.echo", "rich.print"}
STREAMS = {"sys.stdout", "sys.stderr"}


def name_of(node: ast.expr) -> str:
    """The dotted name of an expression, e.g. `sys.stdout.write`; empty for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def find_writes(source: str) -> list[str]:
    """Return `line: call` of every call that prints or writes to a standard stream."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            owner, _, method = name.rpartition(".")
            if name in PRINTING or (owner in STREAMS and method in ("write", "writelines")):
                found.append(f"{node.lineno}: {name}")
    return found


def test_writes_are_found() -> None:
    source = "print(1)\ntyper.echo(a)\nsys.stdout.writelines(b)\nConsole()\nself.console.print(c)\nsys.stdout.flush()\n"
    assert [line.split(": ")[1] for line in find_writes(source)] == [
        "print", "typer.echo", "sys.stdout.writelines", "Console",
    ]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_prints_through_the_functions_that_escape(path: Path) -> None:
    if str(path.relative_to(PACKAGE)) not in ALLOWED:
        assert find_writes(path.read_text(encoding="utf-8")) == []
