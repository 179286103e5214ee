"""User errors: one message with the place, the problem and the fix.

`speechxfer.cli.main` prints a `UserError` without a traceback and exits with code 2; no other exception is hidden.
Several problems of one kind are collected with `Problems` and reported together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix. `str(error)` is the complete message.

    where: the file, row, line or key concerned, as the user wrote it.
    fix: what to do, as an imperative or a command.
    """

    def __init__(self, problem: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.problem, self.where, self.fix = problem, where, fix
        super().__init__(f"{where}: {problem}" if where else problem)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}\n  fix: {self.fix}" if self.fix else text


class MissingExtraError(UserError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            fix=f"pip install 'speechxfer[{extra}]'",
        )
        self.package, self.extra = package, extra


class Problems:
    """Collects problems, so that the user can fix all of them at once.

    problems = Problems("train.csv cannot be used")
    problems.add("row 7 (a.wav): no such file")
    problems.raise_if_any()    # raises one UserError that lists them

    shown: number of problems that the message lists.
    """

    def __init__(self, title: str, *, fix: str | None = None, shown: int = 50) -> None:
        self.title, self.fix, self.shown = title, fix, shown
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        self.found.append(problem)

    def __bool__(self) -> bool:
        return bool(self.found)

    def raise_if_any(self) -> None:
        """Raise a `UserError` that lists the collected problems; return if there are none."""
        if not self.found:
            return
        lines = [f"  - {problem}" for problem in self.found[: self.shown]]
        if len(self.found) > self.shown:
            lines.append(f"  … and {len(self.found) - self.shown} more")
        raise UserError("\n".join([f"{self.title}:", *lines]), fix=self.fix)


def suggest_nearest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the closest match in `known`, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def summarize_out_of_memory(error: Exception) -> str:
    """Return how much memory was requested, by torch's out-of-memory message, or else its first sentence."""
    requested = re.search(r"[Tt]ried to allocate [\d.]+ \w+", str(error))
    return requested[0] if requested else str(error).partition(". ")[0]
