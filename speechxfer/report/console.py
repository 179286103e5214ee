"""The terminal's console: prints text as it is written, without markup, and with control characters escaped."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from speechxfer.escaping import escape_controls


def make_text(text: str, style: str = "") -> Text:
    """Return a text without markup, with control characters escaped before rich measures it."""
    return Text(escape_controls(text), style=style)


def measure_width(table: RenderableType) -> int:
    """Return the columns that a renderable takes without a limit."""
    return EscapingConsole(width=10_000, file=io.StringIO()).measure(table).maximum


class EscapingConsole(Console):
    """A rich console for text from files: brackets are not markup, and no control character reaches the terminal.

    Every renderable passes through `render`, cells of tables and descriptions of progress bars too. `make_text` escapes
    without changing the layout.
    """

    def __init__(
        self, *, quiet: bool = False, stderr: bool = False, file: IO[str] | None = None, width: int | None = None
    ) -> None:
        super().__init__(
            quiet=quiet, stderr=stderr, file=file, width=width,
            markup=False, emoji=False, highlight=False, soft_wrap=True,
        )  # fmt: skip

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(escape_controls(segment.text), segment.style)
