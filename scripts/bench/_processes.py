"""Run one side of a benchmark in its own process, to measure its peak memory and to start without warm caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def measured(words: Sequence[str], threads: int, settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run `python WORDS... --result FILE` on `threads` threads; return the content of FILE and `peak_memory_mb`.

    Exits with the output of the process if it fails.
    """
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **limits, **(settings or {})}
    with tempfile.TemporaryDirectory() as folder:
        target, log = Path(folder) / "result.json", Path(folder) / "output.log"
        command = [sys.executable, *words, "--result", str(target)]
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not target.is_file():
            tail = log.read_text(encoding="utf-8", errors="replace")[-4_000:]
            sys.exit(f"{' '.join(words)} ended with {process.returncode}:\n{tail}")
        found = json.loads(target.read_text(encoding="utf-8"))
    return {**found, "peak_memory_mb": _megabytes(usage)}


def adapted(recipe: str, words: Sequence[str], output: Path) -> tuple[dict[str, Any], float, float]:
    """Run `speechxfer adapt RECIPE WORDS...` into `output`; return its report, wall seconds and peak memory in MB.

    The cache of earlier runs is not used. The output goes to a log next to `output`. Exits with it if the run fails.
    """
    speechxfer = str(Path(sys.executable).with_name("speechxfer"))
    log = output.with_suffix(".log")
    start = time.perf_counter()
    with log.open("w", encoding="utf-8") as log_file, tempfile.TemporaryDirectory() as cache:
        command = [speechxfer, "adapt", recipe, *words, f"output={output}"]
        environment = {**os.environ, "SPEECHXFER_FRAMES": cache}
        process = subprocess.Popen(command, stdout=log_file, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"speechxfer adapt ended with {process.returncode}:\n{log.read_text(encoding='utf-8')}")
    return json.loads((output / "report.json").read_text(encoding="utf-8")), wall, _megabytes(usage)


def _megabytes(usage: Any) -> float:
    return usage.ru_maxrss / (1000 if sys.platform == "darwin" else 1) * 1.024 / 1000


def say(words: str) -> None:
    """Print to standard error: standard output is for the JSON."""
    print(words, file=sys.stderr, flush=True)
