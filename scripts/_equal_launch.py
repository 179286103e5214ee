"""Run one command of a given checkout: `python -P scripts/_equal_launch.py TREE WHAT [ARGUMENT ...]`.

WHAT is `speechxfer` (its command line), a script's path, or `--schema` (prints the keys of the tree's recipes as JSON).
The package must come from TREE: the virtual environment may hold an editable install of another checkout.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import runpy
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = "speechxfer"
# fields by which the two recipe schemas are recognised, whatever their classes and modules are called
SCHEMAS = {"recipe": {"data", "encoder", "stages"}, "wakeword": {"word", "positives", "negatives"}}


def check_origin(tree: Path) -> None:
    """Exit with code 3 unless the package is imported from `tree`."""
    found = Path(importlib.import_module(PACKAGE).__file__ or "").resolve()
    if not found.is_relative_to(tree.resolve()):
        print(f"{PACKAGE} was imported from {found}, not from {tree}", file=sys.stderr)
        sys.exit(3)


def schema_keys() -> dict[str, list[str]]:
    """Return the dotted keys of both recipe schemas; an item of a list is `N`: `stages.N.lr`."""
    from pydantic import BaseModel

    package = importlib.import_module(PACKAGE)
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}.")]
    found: dict[str, list[str]] = {}
    # modules that sound like a schema first: importing the rest takes seconds
    for name in sorted(names, key=lambda name: not any(word in name for word in ("config", "recipe", "settings"))):
        if name.endswith("__main__") or len(found) == len(SCHEMAS):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:  # an optional dependency that is not installed
            continue
        for one in vars(module).values():
            if not (isinstance(one, type) and issubclass(one, BaseModel) and one is not BaseModel):
                continue
            for kind, fields in SCHEMAS.items():
                if fields <= set(one.model_fields):
                    found.setdefault(kind, list(_keys(one, "")))
    return found


def _keys(schema: Any, prefix: str) -> Iterator[str]:
    from pydantic import BaseModel

    for name, field in schema.model_fields.items():
        yield prefix + name
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                listed = typing.get_origin(field.annotation) is list
                yield from _keys(kind, f"{prefix}{name}.{'N.' if listed else ''}")


def main() -> None:
    tree, what, *arguments = sys.argv[1:]
    check_origin(Path(tree))
    if what == "--schema":
        print(json.dumps(schema_keys()))
    elif what == PACKAGE:
        sys.argv = [PACKAGE, *arguments]
        runpy.run_module(PACKAGE, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(what).parent))  # a script imports what lies beside it
        sys.argv = [what, *arguments]
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    main()
