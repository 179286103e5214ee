"""A user's mistake becomes one message: where, what is wrong, what was expected, what to do.

`speechxfer.cli.main` turns any `UserError` into that message and exit code 2; nothing else in the package prints
a traceback away. Problems of one kind are gathered with `Problems` and shown together.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. `str(error)` is the whole message, without a trailing full stop needed.

    where: the file, row, line or key concerned, as the user wrote it.
    fix: what to do, as a sentence or a command.
    """

    def __init__(self, problem: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.problem, self.where, self.fix = problem, where, fix
        super().__init__(f"{where}: {problem}" if where else problem)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}\n  fix: {self.fix}" if self.fix else text


class MissingExtraError(UserError):
    """A package that belongs to an extra is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            fix=f"pip install 'speechxfer[{extra}]'",
        )
        self.package, self.extra = package, extra


class Problems:
    """Gathers mistakes so that a user mends them all in one go.

    problems = Problems("train.csv cannot be used")
    problems.add("row 7 (a.wav): no such file")
    problems.stop()            # raises UserError naming every one, if there is any
    """

    def __init__(self, title: str, *, fix: str | None = None, shown: int = 50) -> None:
        self.title, self.fix, self.shown = title, fix, shown
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        self.found.append(problem)

    def __bool__(self) -> bool:
        return bool(self.found)

    def stop(self) -> None:
        """Raise `UserError` with everything gathered; do nothing when there is nothing."""
        if not self.found:
            return
        lines = [f"  - {problem}" for problem in self.found[: self.shown]]
        if len(self.found) > self.shown:
            lines.append(f"  … and {len(self.found) - self.shown} more")
        raise UserError("\n".join([f"{self.title}:", *lines]), fix=self.fix)


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of `known`, else an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""
