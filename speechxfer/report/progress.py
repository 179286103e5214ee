"""Progress messages of long steps: lines of text, and a progress bar in an interactive terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from speechxfer.progress import ProgressCallback
from speechxfer.report.console import EscapingConsole, make_text

LOG_INTERVAL_SECONDS = 60.0  # seconds between progress lines where no bar can be drawn


class Reporter:
    """Prints messages and progress to standard output.

    Args:
        quiet: print nothing; errors are exceptions, which the command line prints.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = EscapingConsole(quiet=quiet)

    def info(self, message: RenderableType = "") -> None:
        """Print a message: plain text without markup, or a rich table."""
        self.console.print(make_text(message) if isinstance(message, str) else message)

    def warn(self, message: str) -> None:
        """Print a warning."""
        self.info(f"warning: {message}")

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """Show a progress bar; without an interactive terminal, print a line per minute."""
        if not self.console.is_terminal or self.console.is_dumb_terminal or self.console.quiet:
            yield self._make_line_callback(title)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=None)
            progress.refresh()  # otherwise steps shorter than 0.1 s are never drawn
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def _make_line_callback(self, title: str) -> ProgressCallback:
        last = time.monotonic()

        def step(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= LOG_INTERVAL_SECONDS:
                last = time.monotonic()
                self.info(f"{title}: {done:,} of {total:,}")

        return step
