"""Type of the progress callbacks that long operations accept."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]  # (done, total), in the unit that the caller documents
