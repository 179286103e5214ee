"""Prove that two checkouts behave alike: the same weights to the bit, the same reports under a map of renamed keys.

    python scripts/equal_behaviour.py run --tree OLD --work DIR/old --inputs DIR/inputs --corpora $SPEECHXFER_CORPORA
    python scripts/equal_behaviour.py run --tree NEW --work DIR/new --inputs DIR/inputs
    python scripts/equal_behaviour.py compare DIR/old DIR/new --json result.json

`run` runs every case (`--only` names some) through the command line of the package in TREE, seed 0, float32, on the CPU
with a fixed number of threads, and leaves what it writes under DIR/CASE. Both sides must be run on one machine, with
one virtual environment, the same inputs and the same number of threads. `compare` holds one side against the other:
weights bit for bit, JSON under `renamed_keys.json`, timings and provenance by their keys only, sentences by their
number only. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from _equal_cases import CASES
from _equal_compare import FACTS, compare, table
from _equal_inputs import prepare
from _equal_side import CaseError, Side, spelling

PACKAGES = ("torch", "torchaudio", "transformers", "numpy", "onnxruntime", "safetensors", "espeakng-loader")


def commit_of(tree: Path) -> str:
    """Return the checkout's commit, marked where its package differs from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(tree), *words], capture_output=True, text=True, check=False).stdout

    changed = git("status", "--porcelain", "--", "speechxfer", "recipes")
    return git("rev-parse", "HEAD").strip() + (" with changes" if changed.strip() else "")


def facts_of(given: argparse.Namespace, inputs: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Return what a side was run with; `compare` asks that machine, versions, threads and inputs be the same."""
    return {
        "work": str(given.work),
        "commit": commit_of(given.tree),
        "keys": keys,
        "machine": {"processor": _processor(), "system": platform.platform()},
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "threads": given.threads,
        "inputs": inputs,
    }


def _processor() -> str:
    """Return the processor's name, family, model and stepping, by which libraries choose their arithmetic."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.is_file() else []
    wanted = ("model name", "cpu family", "model", "stepping")
    stated = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return ", ".join(stated[name] for name in wanted if name in stated) or platform.processor()


def run(given: argparse.Namespace) -> int:
    """Run the cases one after another; 1 where one of them failed."""
    given.tree, given.work, given.inputs = (path.resolve() for path in (given.tree, given.work, given.inputs))
    names = list(CASES) if given.only is None else [name.strip() for name in given.only.split(",")]
    if unknown := [name for name in names if name not in CASES]:
        raise CaseError(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    given.work.mkdir(parents=True, exist_ok=True)
    keys = spelling(given.tree, given.work, given.keys)
    facts = facts_of(given, prepare(given.inputs, given.corpora), keys)
    place = given.work / FACTS
    before = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    cases = before.get("cases", {}) if {**before, "cases": 0} == {**facts, "cases": 0} else {}
    failed = 0
    for name in names:
        folder = given.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        began = time.perf_counter()
        problem = None
        try:
            CASES[name](Side(given.tree, given.work, given.inputs, folder, keys, given.threads))
        except CaseError as error:
            problem, failed = str(error), failed + 1
        minutes = round((time.perf_counter() - began) / 60, 2)
        cases[name] = {"minutes": minutes, "failed": problem}
        place.write_text(json.dumps({**facts, "cases": cases}, indent=2) + "\n", encoding="utf-8")
        print(f"{name}: {minutes:.1f} min{'' if problem is None else f', FAILED: {problem}'}", flush=True)
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="run | compare")
    side = commands.add_parser("run", help="run the cases with one checkout's package")
    side.add_argument("--tree", type=Path, required=True, help="the checkout")
    side.add_argument("--work", type=Path, required=True, help="folder for the outputs")
    side.add_argument("--inputs", type=Path, required=True, help="folder of what both sides read; made where absent")
    corpora = os.environ.get("SPEECHXFER_CORPORA")
    side.add_argument("--corpora", type=Path, default=corpora, help="default $SPEECHXFER_CORPORA")
    side.add_argument("--only", help=f"some of {', '.join(CASES)}, with commas")
    side.add_argument("--keys", choices=("auto", "old", "new"), default="auto", help="spelling; default %(default)s")
    side.add_argument("--threads", type=int, default=1, help="of every process; default %(default)s")
    side.set_defaults(do=run)
    both = commands.add_parser("compare", help="hold one side's outputs against the other's")
    both.add_argument("old", type=Path)
    both.add_argument("new", type=Path)
    both.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    both.set_defaults(do=lambda given: print_result(compare(given.old, given.new), given.json))
    given = parser.parse_args(arguments)
    try:
        return given.do(given)
    except CaseError as error:
        print(error, file=sys.stderr)
        return 2


def print_result(result: dict[str, Any], file: Path | None) -> int:
    """Print the table of a comparison and write its JSON; 1 where anything differs."""
    print(table(result))
    if file is not None:
        file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if result["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
