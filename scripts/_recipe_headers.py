"""The comment lines at the beginning of a recipe: its purpose, command, overrides and remarks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from speechxfer.errors import UserError


@dataclass
class Header:
    """The comment lines at the beginning of a recipe."""

    name: str
    file: str  # relative to recipes/
    purpose: str
    run: str = ""
    overrides: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def adapts(self) -> bool:
        """Whether the recipe is for `adapt`; wake-word recipes have tables of their own."""
        return not self.run.startswith("speechxfer wakeword")


def read_headers(folder: Path) -> list[Header]:
    """Read the header of every recipe in the folder."""
    found = []
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        lines = [line.lstrip("# ").rstrip() for line in re.match(r"(?:#.*\n)*", text)[0].splitlines()]  # type: ignore[index]
        if not lines:
            raise UserError(
                "has no comment at the beginning", where=path.name, fix="add a first line that says when to use it"
            )
        header = Header(path.stem, path.relative_to(folder).as_posix(), lines[0])
        for line in lines[1:]:
            kind, _, words = line.partition(":")
            parts = re.split(r"\s{2,}", words.strip())
            if kind == "Run":
                header.run = parts[0]
                header.remarks += parts[1:]
            elif kind == "Override":
                header.overrides = parts
            else:
                header.remarks.append(line)
        found.append(header)
    return found
