"""Errors of the detector runtime, which imports nothing of speechxfer outside its folder."""

from __future__ import annotations


class DetectorError(Exception):
    """An error that the user can fix, formatted like `speechxfer.errors.UserError`; the command line exits with code 2.

    where: the file, folder, address or device concerned, as the user wrote it. fix: what to do, as an imperative.
    """

    def __init__(self, problem: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.problem, self.where, self.fix = problem, where, fix
        super().__init__(f"{where}: {problem}" if where else problem)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}\n  fix: {self.fix}" if self.fix else text


class MissingDetectorExtraError(DetectorError):
    """A package of the extra `wakeword` is not installed."""

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed", fix="pip install 'speechxfer[wakeword]'"
        )
        self.package, self.extra = package, "wakeword"
