"""Shared by the benchmarks: alternating repeats, median and range, machine and versions."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speechxfer.errors import UserError
from speechxfer.wakeword.runtime.errors import DetectorError

CORPORA = "SPEECHXFER_CORPORA"  # the folder that scripts/prepare_*.py wrote to


def alternating(sides: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Return the wall seconds of every side. The sides alternate, so that a slow machine affects all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def spread(values: Sequence[float], digits: int | None = 3) -> dict[str, float]:
    """Return median and range, rounded to `digits` (None: to whole numbers)."""
    found = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {name: round(value, digits) for name, value in found.items()} | {"repeats": len(values)}


def machine() -> str:
    """Return the usable cores and, on Linux, the processor, e.g. `2 cores, x86_64, AMD EPYC 7B13`."""
    words = [f"{cores()} cores", platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        words += [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")][:1]
    except OSError:
        pass
    return ", ".join(words)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and the packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("speechxfer", *packages)}}


def corpus_table(given: Path | None, inside: str) -> Path:
    """Return the given table, or else `inside` the corpora's folder. Exits if there is neither."""
    if given is None and os.environ.get(CORPORA):
        given = Path(os.environ[CORPORA]) / inside
    if given is None or not given.is_file():
        sys.exit(f"{given or inside}: no such table\n  fix: name one, or set {CORPORA} to the corpora's folder")
    return given


def named(table: Path) -> str:
    """Return a table's name in results: folder and file name, without the rest of the path."""
    return "/".join(table.resolve().parts[-2:])


def options(doc: str | None, *, repeats: int = 3) -> argparse.ArgumentParser:
    """Return a parser with `--json` and `--repeats`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=_at_least_one, default=repeats, help="repeats per side (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return parser


def write(document: dict[str, Any], target: Path | None) -> None:
    """Print the figures and write them to the target of `--json`."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    print(text)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n", encoding="utf-8")


def run(main: Callable[[], None]) -> None:
    """Run `main()`; a usage error is printed without a traceback, exit code 2."""
    try:
        main()
    except (UserError, DetectorError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of repeats")
    return int(text)
