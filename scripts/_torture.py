"""Runs commands on damaged input: each in a forked process, with its time and memory measured and its input compared.

A part of scripts/torture.py makes `Case`s, names the commands that read each, and passes both to `run_cases`.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import stat
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MAX_SECONDS, MAX_MEMORY_MB = 60.0, 4_000
EXIT_CODES = {0, 1, 2}
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Case:
    """An input. kind: how it was made. path: the file. others: further inputs that must not change.

    arguments: what the commands need of it. expected: the text of the verdict, where there is only one right one.
    """

    kind: str
    path: Path
    others: tuple[Path, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    expected: str | None = None


@dataclass(frozen=True)
class Command:
    """A command. arguments: of the command line, for a case; None where the command cannot be given this case.

    classify: maps exit code and output to a verdict. group: commands of the same group must give the same verdict.
    """

    name: str
    arguments: Callable[[Case], list[str] | None]
    classify: Callable[[int, str], str]
    group: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a command did with a case. memory_mb: peak of the resident set, about 600 MB of it imported modules."""

    command: Command
    verdict: str
    seconds: float
    memory_mb: float
    code: int | None
    output: str
    violations: tuple[str, ...]


def run_cases(
    cases: Sequence[Case], commands: Sequence[Command], *, jobs: int = 1, progress: bool = True
) -> list[tuple[Case, list[Outcome]]]:
    """Run every command on every case, `jobs` cases at once. Run each command once before, so that it is imported."""

    def run_case(case: Case) -> list[Outcome]:
        worker = Worker()
        try:
            return [outcome for command in commands if (outcome := _run_command(worker, case, command)) is not None]
        finally:
            worker.stop()

    gc.collect()
    gc.freeze()  # the forks share what is imported, instead of copying it at their first collection
    results = []
    with ThreadPoolExecutor(jobs) as pool:
        for case, outcomes in zip(cases, pool.map(run_case, cases), strict=True):
            results.append((case, outcomes))
            if progress:
                lines = [f"{len(results)} of {len(cases)}: {case.kind}", *list_violations(results[-1:])]
                print(*lines, sep="\n  ", file=sys.stderr, flush=True)
    return results


def list_violations(results: Iterable[tuple[Case, list[Outcome]]]) -> list[str]:
    """Return a line for each limit that was exceeded, each traceback, changed input and contradicting verdict."""
    lines = []
    for case, outcomes in results:
        for outcome in outcomes:
            lines += [f"{case.kind}: {outcome.command.name}: {violation}" for violation in outcome.violations]
            if case.expected is not None and outcome.command.group and outcome.verdict != case.expected:
                lines.append(f"{case.kind}: {outcome.command.name}: {outcome.verdict}, expected {case.expected}")
        for group in {outcome.command.group for outcome in outcomes} - {""}:
            verdicts = {o.command.name: o.verdict for o in outcomes if o.command.group == group}
            if len(set(verdicts.values())) > 1:
                found = ", ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
                lines.append(f"{case.kind}: verdicts differ: {found}")
    return lines


def print_table(results: Sequence[tuple[Case, list[Outcome]]]) -> None:
    """Print the verdicts of each command over the kinds of cases, and the longest time and highest memory."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for case, outcomes in results:
        for outcome in outcomes:
            cell = counts.setdefault((case.kind.partition(" ")[0], outcome.command.name), {})
            cell[outcome.verdict] = cell.get(outcome.verdict, 0) + 1
    for (kind, command), verdicts in sorted(counts.items()):
        found = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items(), key=lambda v: -v[1]))
        print(f"{kind:<12} {command:<20} {found}")
    outcomes = [outcome for _, found in results for outcome in found]
    if outcomes:
        for name in dict.fromkeys(outcome.command.name for outcome in outcomes):
            own = [outcome for outcome in outcomes if outcome.command.name == name]
            slowest, largest = max(o.seconds for o in own), max(o.memory_mb for o in own)
            median = statistics.median(o.seconds for o in own)
            print(f"{name:<20} {len(own)} cases, median {median:.2f} s, at most {slowest:.1f} s and {largest:.0f} MB")


def _run_command(worker: Worker, case: Case, command: Command) -> Outcome | None:
    arguments = command.arguments(case)
    if arguments is None:
        return None
    inputs = (case.path, *case.others)
    before = [_digest(path) for path in inputs]
    start = time.perf_counter()
    code, output, memory, stopped = worker.run(arguments)
    seconds = time.perf_counter() - start
    violations = [stopped] if stopped else []
    if not stopped and code not in EXIT_CODES:
        violations.append(f"exit code {code}: {output.strip().splitlines()[-1][:200] if output.strip() else ''}")
    if "Traceback" in output:
        violations.append(f"traceback: {output.strip().splitlines()[-1][:200]}")
    if memory > MAX_MEMORY_MB and not stopped:
        violations.append(f"{memory:.0f} MB")
    changed = [path.name for path, digest in zip(inputs, before, strict=True) if _digest(path) != digest]
    violations += [f"changed its input {name!r}" for name in changed]
    verdict = "stopped" if code is None else command.classify(code, output)
    return Outcome(command, verdict, seconds, memory, code, output, tuple(violations))


class Worker:
    """A forked process that runs command lines one after the other; forked again after it was stopped."""

    def __init__(self) -> None:
        self._process: Any = None
        self._link: Any = None

    def run(self, arguments: list[str], max_seconds: float | None = None) -> tuple[int | None, str, float, str]:
        """Run a command line: (exit code, output, peak MB, why it was stopped).

        max_seconds: default `MAX_SECONDS`.
        """
        limit = MAX_SECONDS if max_seconds is None else max_seconds
        if self._process is None:
            context = multiprocessing.get_context("fork")
            self._link, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other,))
            self._process.start()
            other.close()
        self._link.send(arguments)
        deadline, peak, why = time.perf_counter() + limit, 0.0, ""
        while not why:
            if self._link.poll(_POLL_SECONDS):
                try:
                    code, memory, output = self._link.recv()
                except (EOFError, ConnectionResetError):
                    self._process.join()
                    why = f"died with status {self._process.exitcode}"
                    break
                return code, output, max(peak, memory), ""
            peak = max(peak, _read_memory_mb(str(self._process.pid)))
            if time.perf_counter() > deadline:
                why = f"still running after {limit:g} s"
            elif peak > MAX_MEMORY_MB:
                why = f"over {MAX_MEMORY_MB} MB"
        self.stop()
        return None, "", peak, why

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._link.close()
        self._process = None


def _serve(link: Connection) -> None:
    """Run each command line that is received, and send its exit code, peak of the memory in MB, and output."""
    while True:
        arguments = link.recv()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak of the resident memory is measured from here
        code, output = invoke(arguments)
        link.send((code, _read_memory_mb("self", "VmHWM"), output))


def invoke(arguments: list[str]) -> tuple[int, str]:
    """Run a command line in this process: exit code (70: an exception that is not a user's error) and output."""
    from typer.testing import CliRunner

    from speechxfer.cli import build_app

    done = CliRunner().invoke(build_app(), arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return 70, done.output + "".join(traceback.format_exception(done.exception))
    return done.exit_code, done.output


def _read_memory_mb(process: str, line: str = "VmRSS") -> float:
    with suppress(OSError):
        for entry in Path(f"/proc/{process}/status").read_text().splitlines():
            if entry.startswith(f"{line}:"):
                return int(entry.split()[1]) / 1024
    return 0.0


def _digest(path: Path) -> str:
    """Return what must not change of an input: its kind, and the bytes of a file."""
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
        if path.is_symlink():
            return f"{kind} {os.readlink(path)}"  # noqa: PTH115 - it may point nowhere
        return f"{kind} {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else str(kind)
    except OSError as error:
        return f"unreadable: {error.errno}"
