"""Speed and memory of `speechxfer check`: python scripts/bench/check.py [--json recipes/results/bench-check.json]

Checks a tenth of the rows, then all of them (100,000): spans of a few hundred short files in every format. Measures
seconds, rows per second and the peak memory of the process, which would grow with the rows if audio were kept. The
audio is synthetic noise, which takes as long to decode as speech.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from _measuring import machine, options, versions, write

FORMATS = {"wav": ("WAV", None), "flac": ("FLAC", None), "opus": ("OGG", "OPUS"), "mp3": ("MP3", None)}
LENGTH = 4.0  # seconds per file
RATE = 16_000


def write_files(folder: Path, count: int) -> list[str]:
    """Write `count` files of noise, alternating between the formats; return their names."""
    generator, names = np.random.default_rng(0), []
    for number in range(count):
        suffix = list(FORMATS)[number % len(FORMATS)]
        kind, subtype = FORMATS[suffix]
        samples = 0.1 * generator.standard_normal(round(LENGTH * RATE)).astype(np.float32)
        soundfile.write(folder / f"{number}.{suffix}", samples, RATE, format=kind, subtype=subtype)
        names.append(f"{number}.{suffix}")
    return names


def write_rows(path: Path, names: Sequence[str], rows: int) -> None:
    """Write a table of `rows` different spans of one to three seconds, by fifty speakers."""
    generator = np.random.default_rng(1)
    with path.open("w", encoding="utf-8") as file:
        file.write("id,audio,text,speaker,accent,start,end\n")
        for row in range(rows):
            start, length = generator.uniform(0, 1), generator.uniform(1, 3)
            text = f"{row} " + "word " * round(2 * length)
            cut = f"{start:.6f},{start + length:.6f}"
            file.write(f"r{row},{names[row % len(names)]},{text},s{row % 50},a{row % 3},{cut}\n")


def check(table: Path) -> dict[str, Any]:
    """Run the command on the table; return its seconds, and its peak memory as counted by the kernel."""
    words = [str(Path(sys.executable).with_name("speechxfer")), "check", str(table)]
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status):
        sys.exit("\n".join(["check found errors in the generated data:", *lines[:20]]))
    rows = int(lines[-1].split(": ")[1].split()[0])
    return {
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "peak_memory_mb": round(usage.ru_maxrss / 1024),
        "lines_of_progress": sum(line.startswith("checking: ") for line in lines),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, repeats=1)
    parser.add_argument("--rows", type=int, default=100_000, help="default %(default)s")
    parser.add_argument("--files", type=int, default=300, help="default %(default)s")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        names = write_files(Path(folder), given.files)
        found = []
        for rows in (given.rows // 10, given.rows):
            table = Path(folder) / f"{rows}.csv"
            write_rows(table, names, rows)
            found.append([check(table) for _ in range(given.repeats)])
    write(
        {
            "command": f"python scripts/bench/check.py --rows {given.rows} --files {given.files}",
            "machine": machine(),
            "versions": versions("soundfile", "datasets", "numpy"),
            "tenth": found[0],
            "all": found[1],
        },
        given.json,
    )


if __name__ == "__main__":
    main()
