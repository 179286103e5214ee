"""Time and memory of `adapt`: python scripts/bench/adapt.py [TABLE] [--json recipes/results/bench-adapt.json]

Runs `speechxfer adapt accent-whisper` for one epoch with greedy decoding, on 170 utterances that are evenly spread over
a table and split by speaker. Each repeat is a process of its own, so its peak memory includes everything that `adapt`
does: scoring the zero-shot model, training, and scoring the adapted model with and without padding to 30 s.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _measuring import cores, corpus_table, machine, named, options, run, spread, versions, write
from _processes import adapted

RECIPE = "accent-whisper"
SETTINGS = ("stages.0.epochs=1", "decoding.kind=greedy")
STEPS = ("whole process", "total", "training")
# imports, and the conversion of the weights, which happens once; not timed
WARM_UP = """
import sys
import speechxfer.adaptation.run
from speechxfer.encoders.checkpoints import resolve_transformers_dir
resolve_transformers_dir(sys.argv[1])
"""


def write_subset(table: Path, utterances: int, target: Path) -> None:
    """Write `utterances` evenly spread rows of a CSV table, with absolute audio paths."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) < utterances:
        sys.exit(f"{table}: has {len(rows)} rows, {utterances} are needed\n  fix: set --utterances {len(rows)}")
    selected = [rows[index * len(rows) // utterances] for index in range(utterances)]
    for row in selected:
        row["audio"] = str((table.parent / row["audio"]).resolve())
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(selected)


def measure_adapt(table: Path, output: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Run `adapt` once: wall seconds and peak memory of the process, and figures of its report."""
    report, wall, memory = adapted(RECIPE, [f"data.train={table}", *settings], output)
    return {
        "whole process": wall,
        "total": report["speed"]["total_seconds"],  # without Python's start and imports
        "training": report["speed"]["training_seconds"],
        "peak_memory_mb": memory,
        "splits": {name: split["utterances"] for name, split in report["splits"].items()},
        "trained_parameters": [stage["trained_parameters"] for stage in report["stages"]],
        "device": report["speed"]["device"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train.csv")
    parser.add_argument("--utterances", type=int, default=170, help="of all three splits together; default %(default)s")
    parser.add_argument("--model", default="whisper-tiny.en", help="the recipe's encoder; default %(default)s")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="passed to adapt")
    given = parser.parse_args(arguments)
    table = corpus_table(given.table, "speechocean762/train.csv")
    settings = [f"encoder.name={given.model}", *SETTINGS, *given.set]
    subprocess.run([sys.executable, "-c", WARM_UP, given.model], check=True)
    with tempfile.TemporaryDirectory() as folder:
        subset = Path(folder) / "train.csv"
        write_subset(table, given.utterances, subset)
        runs = [measure_adapt(subset, Path(folder) / f"run-{number}", settings) for number in range(given.repeats)]
    write(
        {
            "command": "python scripts/bench/adapt.py",
            "machine": machine(),
            "versions": versions("torch", "transformers", "accelerate", "numpy"),
            "what": f"speechxfer adapt {RECIPE} {' '.join([*SETTINGS, *given.set])}",
            "corpus": f"{given.utterances} utterances of {named(table)}",
            "model": Path(given.model).name,
            "threads": int(os.environ.get("OMP_NUM_THREADS") or cores()),
            "splits": runs[0]["splits"],
            "trained_parameters": runs[0]["trained_parameters"],
            "device": runs[0]["device"],
            "seconds": {name: spread([measured[name] for measured in runs], 1) for name in STEPS},
            "peak_memory_mb": spread([measured["peak_memory_mb"] for measured in runs], None),
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
