"""Registries of named parts that other packages can extend, by entry points.

A package adds a part by an entry point, e.g. in its `pyproject.toml`:

    [project.entry-points."speechxfer.normalisers"]
    swedish = "my_package:make_swedish"

Recipes and options give the name only, never an import path: the vocabulary is closed, and a typing error is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from speechxfer.errors import UserError, suggest_nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Parts by name: built-in ones, and those of installed packages, which are imported when they are used.

    Args:
        group: group of the entry points, e.g. `speechxfer.normalisers`.
        noun: what a part is called in messages.
        fix: of the error for an unknown name, with {} in place of the names of all parts.
    """

    def __init__(self, group: str, noun: str, fix: str = "use one of {}") -> None:
        self.group, self.noun, self.fix = group, noun, fix
        self._parts: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds a built-in part under a name."""

        def add(part: T) -> T:
            if name in self._parts:
                raise ValueError(f"{self.group}: '{name}' is registered twice")
            self._parts[name] = part
            return part

        return add

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all parts, the built-in ones first."""
        return (*self._parts, *(name for name in self._entry_points if name not in self._parts))

    def find(self, name: str) -> T | None:
        """Return the part of a name, None if there is none.

        Raises:
            UserError: if the package of the part cannot be imported.
        """
        if name not in self._parts:
            if name not in self._entry_points:
                return None
            self._parts[name] = self._load(self._entry_points[name])
        return self._parts[name]

    def get(self, name: str, *, where: str | None = None) -> T:
        """Return the part of a name.

        Args:
            where: of the error.

        Raises:
            UserError: for an unknown name, and if the package of the part cannot be imported.
        """
        part = self.find(name)
        if part is None:
            problem = f"unknown {self.noun} '{name}'{suggest_nearest(name, self.names)}"
            raise UserError(problem, where=where, fix=self.fix.format(", ".join(self.names)))
        return part

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def _load(self, point: EntryPoint) -> T:
        try:
            part: T = point.load()
        except (ImportError, AttributeError) as error:
            package = point.dist.name if point.dist else point.module
            problem = f"the {self.noun} '{point.name}' of the package {package} cannot be imported: {error}"
            raise UserError(problem, fix=f"repair or remove it: pip uninstall {package}") from None
        return part
