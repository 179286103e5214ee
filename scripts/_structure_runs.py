"""Runs of the tests under coverage, of the whole suite or of one file at a time: for scripts/count_structure.py."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from coverage import Coverage

PACKAGE = "speechxfer"
PYTEST = ["-m", "pytest", "-p", "no:cacheprovider"]
FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
TEST_FILE_SECONDS = 1800  # after which a test file is stopped


@dataclass
class SuiteCoverage:
    """Coverage of the package by the whole test suite, with branches.

    Args:
        covered_branches (`int`): Branches that a test takes.
        branches (`int`): Branches in all.
        covered_statements (`int`): Statements that a test runs.
        statements (`int`): Statements in all.
        percent (`float`): Statements and branches together, as coverage.py reports them.
        minutes (`float`): Wall time of the run, with coverage's own cost.
        cpu_minutes (`float`): CPU time of its processes, which depends less on what else the machine does.
        failed (`list[str]`): Tests that failed.
    """

    covered_branches: int
    branches: int
    covered_statements: int
    statements: int
    percent: float
    minutes: float
    cpu_minutes: float
    failed: list[str]

    @property
    def branch_percent(self) -> float:
        return 100 * self.covered_branches / max(1, self.branches)


@dataclass
class OwnTest:
    """Statement coverage of one module by its own test file alone.

    Args:
        module (`str`): Path within the package.
        test (`str`): Path within tests/.
        percent (`float`): Statements that the test file runs, from 0 to 100.
        passed (`bool`): Whether every test of the file passed.
        seconds (`float`): Wall time of the run.
    """

    module: str
    test: str
    percent: float
    passed: bool
    seconds: float


def measure_suite(tree: Path, work: Path, jobs: int = 2) -> SuiteCoverage:
    """Run the whole test suite of a checkout once, with branch coverage.

    Args:
        tree (`Path`): The checkout.
        work (`Path`): Folder that keeps coverage's data, its report and pytest's output.
        jobs (`int`, *optional*, defaults to 2): Processes of pytest-xdist.
    """
    work.mkdir(parents=True, exist_ok=True)
    report, log = work / "suite.json", work / "suite.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, *PYTEST, "-rfE", "-n", str(jobs), f"--cov={PACKAGE}", "--cov-branch"]
    command += [f"--cov-report=json:{report}"]
    started, cpu_before = time.perf_counter(), _cpu_of_children()
    with log.open("w", encoding="utf-8") as output:
        environment = _environment(tree, work / "suite.coverage")
        subprocess.run(command, cwd=tree, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    minutes = (time.perf_counter() - started) / 60
    if not report.exists():
        raise SystemExit(f"{log}: the tests wrote no coverage\n  fix: read pytest's output there")
    totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
    return SuiteCoverage(
        covered_branches=totals["covered_branches"],
        branches=totals["num_branches"],
        covered_statements=totals["covered_lines"],
        statements=totals["num_statements"],
        percent=totals["percent_covered"],
        minutes=minutes,
        cpu_minutes=(_cpu_of_children() - cpu_before) / 60,
        failed=FAILURE.findall(log.read_text(encoding="utf-8", errors="replace")),
    )


def measure_own_tests(tree: Path, pairs: Iterable[tuple[str, str]], work: Path) -> list[OwnTest]:
    """Run each module's own test file alone under coverage; a pair that has not changed is read from `work`.

    Args:
        tree (`Path`): The checkout.
        pairs (`Iterable[tuple[str, str]]`): Paths of module (within the package) and test file (within tests/).
        work (`Path`): Folder of earlier measurements, by the hash of module, test file and conftest files.
    """
    work.mkdir(parents=True, exist_ok=True)
    measured = []
    for module, test in pairs:
        kept = work / f"own-{_content_hash(tree, module, test)}.json"
        if kept.exists():
            measured.append(OwnTest(**json.loads(kept.read_text(encoding="utf-8"))))
            continue
        own = _measure_own_test(tree, module, test, work)
        kept.write_text(json.dumps(asdict(own)), encoding="utf-8")
        print(f"{own.percent:6.1f} % {own.seconds:6.1f} s  {module}", file=sys.stderr)
        measured.append(own)
    return measured


def check_imported(tree: Path) -> None:
    """Raise `SystemExit` unless Python imports the package from this checkout."""
    program = f"import {PACKAGE}; print({PACKAGE}.__file__)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tree / "tests", env=_environment(tree), capture_output=True, text=True, check=True
    )
    found = Path(done.stdout.strip()).resolve()
    if not found.is_relative_to(tree.resolve()):
        raise SystemExit(f"{found}: is imported in place of the package in {tree}")


def _measure_own_test(tree: Path, module: str, test: str, work: Path) -> OwnTest:
    data = work / "own.coverage"
    data.unlink(missing_ok=True)
    command = [sys.executable, *PYTEST, f"tests/{test}", f"--cov={PACKAGE}", "--cov-report="]
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=_environment(tree, data),
            capture_output=True,
            check=False,
            timeout=TEST_FILE_SECONDS,
        )
        passed = done.returncode == 0
    except subprocess.TimeoutExpired:
        passed = False
    seconds = time.perf_counter() - started
    percent = _statement_percent(tree, module, data) if data.exists() else 0.0
    return OwnTest(module=module, test=test, percent=percent, passed=passed, seconds=seconds)


def _statement_percent(tree: Path, module: str, data: Path) -> float:
    """Return the share of one module's statements in coverage's data; a report of every file takes seconds more."""
    measured = Coverage(data_file=data, config_file=str(tree / "pyproject.toml"))
    measured.load()
    _, statements, _, missing, _ = measured.analysis2(str(tree / PACKAGE / module))
    return 100 * (1 - len(missing) / max(1, len(statements)))


def _cpu_of_children() -> float:
    """Return the seconds of CPU that the processes started here have taken, once they have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _content_hash(tree: Path, module: str, test: str) -> str:
    path = tree / "tests" / test
    folders = [folder for folder in path.parents if folder.is_relative_to(tree / "tests")]
    conftests = [folder / "conftest.py" for folder in folders]
    digest = hashlib.sha256(f"{module}\n{test}\n".encode())
    for file in (tree / PACKAGE / module, path, *(file for file in conftests if file.exists())):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _environment(tree: Path, data_file: Path | None = None) -> dict[str, str]:
    """Return variables under which the checkout's package is imported, by the programs that tests start too."""
    variables = {"PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    if data_file is not None:
        variables["COVERAGE_FILE"] = str(data_file.resolve())
    return {**os.environ, **variables}
