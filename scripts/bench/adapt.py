"""Time and memory of adapting: python scripts/bench/adapt.py [TABLE] [--json recipes/results/bench-adapt.json]

`speechxfer adapt accent-whisper`, one epoch, greedy, on 170 utterances spread evenly over a table, which it parts by
speaker itself. Each repeat is a process of its own, so its peak memory is that of everything `adapt` does: the
untouched model scored, training, and the adapted model scored as it is and padded to 30 s.
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
# what any run reads from disk first, and the weights' conversion, which happens once: untimed
WARM_UP = (
    "import sys\nimport speechxfer.adaptation.run\nfrom speechxfer.encoders.checkpoints import find\nfind(sys.argv[1])"
)


def small_table(table: Path, utterances: int, target: Path) -> None:
    """Write `utterances` rows of a CSV table, evenly spread, with audio paths that hold anywhere."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) < utterances:
        sys.exit(f"{table}: {len(rows)} rows, and {utterances} are wanted\n  fix: say --utterances {len(rows)}")
    chosen = [rows[place * len(rows) // utterances] for place in range(utterances)]
    for row in chosen:
        row["audio"] = str((table.parent / row["audio"]).resolve())
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)


def adapt(table: Path, output: Path, settings: Sequence[str]) -> dict[str, Any]:
    """One run: wall seconds and peak memory of its process, and what its report says."""
    report, wall, memory = adapted(RECIPE, [f"data.train={table}", *settings], output)
    return {
        "whole process": wall,
        "total": report["speed"]["total_seconds"],  # without Python's start and imports
        "training": report["speed"]["training_seconds"],
        "peak_memory_mb": memory,
        "parts": {name: stated["utterances"] for name, stated in report["parts"].items()},
        "trained_parameters": [stage["trained_parameters"] for stage in report["stages"]],
        "device": report["speed"]["device"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train.csv")
    parser.add_argument("--utterances", type=int, default=170, help="of all three parts together; default %(default)s")
    parser.add_argument("--model", default="whisper-tiny.en", help="the recipe's encoder; default %(default)s")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="passed on to adapt")
    given = parser.parse_args(arguments)
    table = corpus_table(given.table, "speechocean762/train.csv")
    settings = [f"encoder.name={given.model}", *SETTINGS, *given.set]
    subprocess.run([sys.executable, "-c", WARM_UP, given.model], check=True)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "train.csv"
        small_table(table, given.utterances, small)
        runs = [adapt(small, Path(folder) / f"run-{number}", settings) for number in range(given.repeats)]
    write(
        {
            "command": "python scripts/bench/adapt.py",
            "machine": machine(),
            "versions": versions("torch", "transformers", "accelerate", "numpy"),
            "what": f"speechxfer adapt {RECIPE} {' '.join([*SETTINGS, *given.set])}",
            "corpus": f"{given.utterances} utterances of {named(table)}",
            "model": Path(given.model).name,
            "threads": int(os.environ.get("OMP_NUM_THREADS") or cores()),
            "parts": runs[0]["parts"],
            "trained_parameters": runs[0]["trained_parameters"],
            "device": runs[0]["device"],
            "seconds": {name: spread([one[name] for one in runs], 1) for name in STEPS},
            "peak_memory_mb": spread([one["peak_memory_mb"] for one in runs], None),
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
