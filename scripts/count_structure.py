"""Count how the code is built, and compare two states: python scripts/count_structure.py [--tree PATH] [--compare OLD]

Counts names defined in several files, long functions, branches, parameters, modules without a test file, import cycles
and more. `--coverage` also runs the whole test suite once and counts the branches that it covers, and the statements
of each module that the module's own test file covers.

    python scripts/count_structure.py --json counts.json                 # a few seconds
    python scripts/count_structure.py --coverage --json counts.json      # and the whole suite: as long as `make test`
    python scripts/count_structure.py --compare counts.json --check      # exits 1 where a target is missed
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _structure import MAX_UNTESTED_STATEMENTS, Count, SourceFile, count_source, modules_of_size, read_package
from _structure_runs import SuiteCoverage, check_imported, measure_own_tests, measure_suite

ROOT = Path(__file__).parents[1]
WORK = ROOT / "runs" / "structure"
MIN_OWN_PERCENT = 70
# names that may be defined in more than one file outside cli/, with the reason
ALLOWED_NAMES: dict[str, str] = {
    "SAMPLE_RATE": "the runtime of a wake word imports nothing else of the package",
}
# the most that each count may be; what is not here has no target
TARGETS = {
    "duplicate_names": 8,
    "unreasoned_names": 0,
    "unused_reasons": 0,
    "long_functions": 0,
    "complex_functions": 0,
    "many_parameters": 0,
    "untested_modules": 0,
    "long_files": 0,
    "long_commands": 0,
    "rank_violations": 0,
    "import_cycles": 0,
    "weak_own_tests": 0,
}
NOT_BELOW_BEFORE = ("branch_percent",)  # compared with `--compare`
Document = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    given = _parse(arguments)
    counts = count(given)
    before = json.loads(given.compare.read_text(encoding="utf-8"))["counts"] if given.compare else None
    print_counts(counts, before)
    if given.json:
        document = {"commit": _commit(given.tree), "counts": {key: asdict(one) for key, one in counts.items()}}
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    missed = [key for key, one in counts.items() if _misses(key, one, before)]
    return int(given.check and bool(missed))


def count(given: argparse.Namespace) -> dict[str, Count]:
    """Count what the options ask for, by key, in the order of the table."""
    files = read_package(given.tree)
    counts = count_source(given.tree, files, ALLOWED_NAMES)
    if given.coverage:
        check_imported(given.tree)
        counts |= _suite_counts(measure_suite(given.tree, given.work, given.jobs))
        counts |= _count_own_tests(given, files)
    return counts


def print_counts(counts: dict[str, Count], before: Document | None) -> None:
    """Print the table, with an earlier state beside it where there is one, then what was found."""
    rows = [("", *(["before"] if before else []), "now", "target", "")]
    for key, one in counts.items():
        earlier = [_shown((before.get(key) or {}).get("value"))] if before else []
        target = f"<= {TARGETS[key]}" if key in TARGETS else ">= before" if key in NOT_BELOW_BEFORE else ""
        rows.append((one.title, *earlier, _shown(one.value), target, "missed" * _misses(key, one, before)))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for title, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        print("  ".join([title.ljust(widths[0]), *aligned]).rstrip())
    for one in counts.values():
        if one.items:
            print(f"\n{one.title}: {_shown(one.value)}")
            print("\n".join(f"    {item}" for item in one.items))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout to count (default: this one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts")
    parser.add_argument("--compare", type=Path, metavar="OLD", help="counts of an earlier state, to print beside")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--coverage", action="store_true", help="run the whole test suite with branch coverage")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of what was measured (default: runs/structure)")
    parser.add_argument("--jobs", type=int, default=2, help="processes of --coverage (default: %(default)s)")
    given = parser.parse_args(arguments)
    given.tree, given.work = given.tree.resolve(), given.work.resolve()
    if not read_package(given.tree):
        parser.error(f"{given.tree}: no package there\n  fix: name the root of a checkout")
    return given


def _count_own_tests(given: argparse.Namespace, files: list[SourceFile]) -> dict[str, Count]:
    modules = modules_of_size(files, large=True)
    pairs = [(file.name, file.test) for file in modules if (given.tree / "tests" / file.test).is_file()]
    measured = sorted(measure_own_tests(given.tree, pairs, given.work), key=lambda own: own.percent)
    weak = [f"{own.percent:5.1f} %  {own.module}" for own in measured if own.percent < MIN_OWN_PERCENT]
    of = f"(of {len(measured)} over {MAX_UNTESTED_STATEMENTS} statements)"
    return {"weak_own_tests": Count(f"modules under {MIN_OWN_PERCENT} % by their own tests {of}", len(weak), weak)}


def _suite_counts(suite: SuiteCoverage) -> dict[str, Count]:
    branches = f"{suite.covered_branches} of {suite.branches} branches"
    statements = f"{suite.covered_statements} of {suite.statements} statements"
    return {
        "branch_percent": Count("branch coverage, %", suite.branch_percent, [branches]),
        "combined_percent": Count("coverage of statements and branches, %", suite.percent, [statements]),
        "test_minutes": Count("minutes of the tests, under coverage", suite.minutes),
        "test_cpu_minutes": Count("CPU minutes of the tests, under coverage", suite.cpu_minutes),
        "failed_tests": Count("tests that fail", len(suite.failed), suite.failed),
    }


def _misses(key: str, one: Count, before: Document | None) -> bool:
    if one.value is None:
        return key in TARGETS
    if key in NOT_BELOW_BEFORE:
        earlier = ((before or {}).get(key) or {}).get("value")
        return earlier is not None and one.value < earlier
    return key in TARGETS and one.value > TARGETS[key]


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _commit(tree: Path) -> str | None:
    command = ["git", "-C", str(tree), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())
