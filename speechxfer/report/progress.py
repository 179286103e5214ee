"""What a long step says while it works: lines, and a bar where a person watches (a line a minute where none does)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_INTERVAL_SECONDS = 60.0  # seconds between lines in a log file


class Reporter:
    """Says what goes on. quiet: nothing at all (errors are exceptions, and the command line prints those)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True, emoji=False)

    def info(self, words: RenderableType = "") -> None:
        self.console.print(words, markup=False) if isinstance(words, str) else self.console.print(words)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """A progress bar; the callable takes (done, of how many)."""
        if not self.console.is_terminal or self.console.is_dumb_terminal or self.console.quiet:
            yield self._lines(title)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=None)
            progress.refresh()  # else a step shorter than a tenth of a second is never seen
            yield lambda done, of: progress.update(task, completed=done, total=of)

    def _lines(self, title: str) -> Callable[[int, int], None]:
        last = time.monotonic()

        def step(done: int, of: int) -> None:
            nonlocal last
            if time.monotonic() - last >= LOG_INTERVAL_SECONDS:
                last = time.monotonic()
                self.info(f"{title}: {done:,} of {of:,}")

        return step
