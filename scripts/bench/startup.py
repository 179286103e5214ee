"""Startup time of the command line: python scripts/bench/startup.py [--json recipes/results/bench-startup.json]

Wall seconds of whole processes, alternating: `speechxfer --help`, `speechxfer score` on two small files, and an empty
Python program, the lower bound of both. Exit code 1 if one of them imports torch or a package that needs torch.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from _measuring import alternating, machine, options, spread, versions, write

TARGETS = {"speechxfer --help": 0.6, "speechxfer score": 0.8}  # seconds
HEAVY = ("torch", "torchaudio", "transformers", "datasets", "accelerate", "tensorboard")
FLOOR = "python -c pass"
FILES = {
    "reference.trn": "the quick brown fox (a-1)\njumps over (b-1)\n",
    "hypothesis.trn": "the quick brown box (a-1)\njumps over it (b-1)\n",
}


def programs(folder: Path) -> dict[str, list[str]]:
    """Map names to the arguments of Python."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    files = [str(folder / name) for name in FILES]
    speechxfer = str(Path(sys.executable).with_name("speechxfer"))
    return {
        "speechxfer --help": [speechxfer, "--help"],
        "speechxfer score": [speechxfer, "score", *files],
        FLOOR: ["-c", "pass"],
    }


def run(words: Sequence[str]) -> str:
    """Run Python with `words` and return its standard error. Exits if that fails."""
    done = subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"python {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return done.stderr


def heavy_imports(words: Sequence[str]) -> list[str]:
    """Return the heavy packages that Python imports when it runs `words`."""
    timed = run(["-X", "importtime", *words])  # one line per import: `import time: self | cumulative | name`
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in timed.splitlines()}
    return [name for name in HEAVY if name in imported]


def main(arguments: Sequence[str] | None = None) -> None:
    given = options(__doc__, repeats=9).parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = programs(Path(folder))
        # also the warm-up: the files are in memory afterwards
        heavy = {name: heavy_imports(words) for name, words in found.items()}
        for name, packages in heavy.items():
            if packages:
                sys.exit(f"{name} imports {', '.join(packages)}, which it must not")
        seconds = alternating({name: partial(run, words) for name, words in found.items()}, given.repeats)
    write(
        {
            "command": "python scripts/bench/startup.py",
            "machine": machine(),
            "versions": versions("typer", "rich", "numpy"),
            "seconds": {name: spread(values) for name, values in seconds.items()},
            "targets": TARGETS,
            "heavy_imports": heavy,
        },
        given.json,
    )


if __name__ == "__main__":
    main()
