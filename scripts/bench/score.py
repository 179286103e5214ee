"""How fast is scoring? python scripts/bench/score.py [--pairs 100000] [--json recipes/results/bench-score.json]

From two trn files to substitutions, deletions and insertions by speaker, beside `jiwer.process_words` (which starts
from texts already read) in the same process, in turn, the median of three or more; then whole programs, in turn too:
`speechxfer score`, sclite (where Debian's sctk is installed), and streams of as many and of ten times as many pairs.
Peak memory is that of a process of its own.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _score_corpus
from _measuring import alternating, machine, options, versions, write

_STREAM = """
import sys
from pathlib import Path
from speechxfer.scoring.stream import score_stream, trn_pairs
print(score_stream(trn_pairs(Path(sys.argv[1]), Path(sys.argv[2])), normaliser="none").total.summary())
"""

_START = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
failed = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
seconds = time.perf_counter() - started
kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"seconds": round(seconds, 2), "peak_memory_mb": round(kilobytes / 1024)}))
sys.exit(failed)
"""


def program(command: list[str]) -> dict[str, float]:
    """Wall seconds and peak memory of a program, started from a small process: Linux counts the memory of the process
    that starts a program, ours with all pairs in it, as the program's own."""
    done = subprocess.run([sys.executable, "-c", _START, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return json.loads(done.stdout)


def whole_programs(pairs: int, repeats: int, folder: Path) -> dict[str, dict[str, float]]:
    """Name of a program to its median seconds, their range, and its peak memory."""
    files = list(map(str, _score_corpus.write(folder, pairs)))
    many = list(map(str, _score_corpus.write(folder, 10 * pairs)))
    commands = {
        "speechxfer score": [
            str(Path(sys.executable).with_name("speechxfer")),
            "score",
            *files,
            "-q",
            "--by",
            "speaker",
        ],
        f"stream of {pairs:,} pairs": [sys.executable, "-c", _STREAM, *files],
        f"stream of {10 * pairs:,} pairs": [sys.executable, "-c", _STREAM, *many],
    }
    if shutil.which("sctk"):
        commands["sclite"] = f"sctk sclite -r {files[0]} trn -h {files[1]} trn -i spu_id -o sum stdout".split()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(program(command))
    return {
        name: {
            "seconds": statistics.median(run["seconds"] for run in found),
            "range": [min(run["seconds"] for run in found), max(run["seconds"] for run in found)],
            "peak_memory_mb": max(run["peak_memory_mb"] for run in found),
        }
        for name, found in runs.items()
    }


def measure(pairs: int, repeats: int, folder: Path) -> dict[str, Any]:
    import jiwer

    from speechxfer.scoring import score
    from speechxfer.scoring.pairing import read_pairs

    reference, hypothesis = _score_corpus.write(folder, pairs)

    def whole(align: str) -> None:
        (read,) = read_pairs(reference, [hypothesis])
        score(
            read.references, read.hypotheses, read.ids, read.speakers, normaliser="none", align=align
        ).count_by_speaker()

    (read,) = read_pairs(reference, [hypothesis])
    texts = read.references, read.hypotheses
    sides: dict[str, Callable[[], Any]] = {
        "read and score, min": partial(whole, "min"),
        "jiwer.process_words": partial(jiwer.process_words, *texts),
        "read and score, sclite": partial(whole, "sclite"),
        "score alone, min": lambda: score(*texts, read.ids, read.speakers, normaliser="none").count_by_speaker(),
        "10,000 bootstrap draws over speakers": drawn(score(*texts, read.ids, read.speakers, normaliser="none")),
        "10,000 bootstrap draws over utterances": drawn(score(*texts, read.ids, normaliser="none")),
    }
    for work in sides.values():
        work()  # warm-up
    seconds = alternating(sides, repeats)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    theirs = medians["jiwer.process_words"]
    return {
        "pairs": pairs,
        "statistic": f"median of {repeats}",
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "range": {name: [round(min(values), 3), round(max(values), 3)] for name, values in seconds.items()},
        "of_jiwer": {name: round(value / theirs, 2) for name, value in medians.items() if "score" in name},
        "programs": whole_programs(pairs, repeats, folder),
    }


def drawn(found: Any) -> Callable[[], None]:
    """The interval of a score, made anew each time."""

    def draw() -> None:
        found.__dict__.pop("total", None)  # where cached_property keeps it
        assert found.interval is not None

    return draw


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--pairs", type=int, default=100_000, help="default %(default)s")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.pairs, given.repeats, Path(folder))
    head = {"command": "python scripts/bench/score.py", "machine": machine()}
    write({**head, "versions": versions("jiwer", "rapidfuzz", "numpy"), **found}, given.json)


if __name__ == "__main__":
    main()
