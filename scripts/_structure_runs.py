"""A run of the tests under coverage, for scripts/count_structure.py."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage

PACKAGE = "speechxfer"
PYTEST = ["-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow and not hub and not gpu"]  # as `make test`
FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
DATA_FILE = "suite.coverage"


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
    """Statement coverage of one module by the tests of its own test file.

    Args:
        module (`str`): Path within the package.
        test (`str`): Path within tests/.
        percent (`float`): Statements that the test file runs, or that an import runs, from 0 to 100.
    """

    module: str
    test: str
    percent: float


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
    command += ["--cov-context=test"]  # for `measure_own_tests`
    command += [f"--cov-report=json:{report}"]
    started, cpu_before = time.perf_counter(), _cpu_of_children()
    with log.open("w", encoding="utf-8") as output:
        environment = _environment(tree, work / DATA_FILE)
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
    """Return how much of each module its own test file runs, from the coverage of `measure_suite`.

    Coverage notes the test that ran each line. Statements outside functions are run by an import, so they count for
    every test file that imports the module.

    Args:
        tree (`Path`): The checkout.
        pairs (`Iterable[tuple[str, str]]`): Paths of module (within the package) and test file (within tests/).
        work (`Path`): The folder that `measure_suite` wrote to.
    """
    measured = Coverage(data_file=work / DATA_FILE, config_file=str(tree / "pyproject.toml"))
    measured.load()
    data = measured.get_data()
    found = []
    for module, test in pairs:
        path = tree / PACKAGE / module
        _, statements, _, missing, _ = measured.analysis2(str(path))
        contexts = data.contexts_by_lineno(str(path))
        in_functions = _lines_in_functions(path.read_text(encoding="utf-8"))
        at_import = set(statements) - in_functions - set(missing)
        own = {line for line, tests in contexts.items() if any(one.startswith(f"tests/{test}::") for one in tests)}
        run = (at_import | own) & set(statements)
        found.append(OwnTest(module, test, 100 * len(run) / max(1, len(statements))))
    return found


def _lines_in_functions(source: str) -> set[int]:
    """Return the lines of the bodies of functions, which an import does not run."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines.update(range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1))
    return lines


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


def _cpu_of_children() -> float:
    """Return the seconds of CPU that the processes started here have taken, once they have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _environment(tree: Path, data_file: Path | None = None) -> dict[str, str]:
    """Return variables under which the checkout's package is imported, by the programs that tests start too."""
    variables = {"PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    if data_file is not None:
        variables["COVERAGE_FILE"] = str(data_file.resolve())
    return {**os.environ, **variables}
