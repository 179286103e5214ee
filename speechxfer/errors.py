"""A user's mistake becomes one message: where, what is wrong, what was expected, what to do.

`speechxfer.cli.main` turns any `UserError` into that message and exit code 2; nothing else in the package prints
a traceback away. Problems of one kind are gathered with `Problems` and shown together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from types import TracebackType


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

    def raise_if_any(self) -> None:
        """Raise `UserError` with everything gathered; do nothing when there is nothing."""
        if not self.found:
            return
        lines = [f"  - {problem}" for problem in self.found[: self.shown]]
        if len(self.found) > self.shown:
            lines.append(f"  … and {len(self.found) - self.shown} more")
        raise UserError("\n".join([f"{self.title}:", *lines]), fix=self.fix)


def suggest_nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of `known`, else an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def summarize_out_of_memory(error: Exception) -> str:
    """What torch says first where a GPU's memory is short: how much was asked for. Advice and figures follow there."""
    return str(error).partition(". ")[0]


def explain_torchaudio_mismatch(error: BaseException) -> UserError:
    """The message for a torch and a torchaudio that do not fit each other: which there are, and what to install."""
    import importlib.metadata  # here, as it takes 60 ms that nothing else needs

    there = []
    for package in ("torch", "torchaudio"):
        try:
            there.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            there.append(f"no {package}")
    try:
        ours = importlib.metadata.requires("speechxfer") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        ours = []
    fitting = [f"'{name}'" for name in ours if re.match(r"torch(audio)?\b", name)] or ["torch", "torchaudio"]
    words = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"torchaudio cannot be imported beside this torch: {', '.join(there)} ({words[:200]})",
        fix=f"install a pair built for the same CUDA: pip install --force-reinstall {' '.join(fitting)}",
    )


def explain_torchaudio_import_error(error: BaseException) -> UserError | None:
    """`explain_torchaudio_mismatch`'s message where importing torchaudio raised `error`, by whatever library it was imported."""
    for one in _chain(error):
        if getattr(one, "name", None) == "torchaudio" and isinstance(one, ImportError):
            return explain_torchaudio_mismatch(one)
        if any(_imports_torchaudio(one.__traceback__)):
            return explain_torchaudio_mismatch(one)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, the first cause first."""
    if error is not None:
        yield from _chain(error.__cause__ or error.__context__)
        yield error


def _imports_torchaudio(traceback: TracebackType | None) -> Iterator[bool]:
    while traceback is not None:
        code, name = traceback.tb_frame.f_code, str(traceback.tb_frame.f_globals.get("__name__"))
        yield code.co_name == "<module>" and name.split(".")[0] == "torchaudio"
        traceback = traceback.tb_next
