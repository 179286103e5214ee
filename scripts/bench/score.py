"""Benchmark scoring speed: python scripts/bench/score.py [--pairs 100000] [--json recipes/results/bench-score.json]

Measures the time from two trn files to substitutions, deletions and insertions by speaker, next to
`jiwer.process_words` (which starts from texts already read), alternating in one process, median of three or more. Then
whole programs, alternating too: `speechxfer score` and sclite (if Debian's sctk is installed). Peak memory is measured
in a process of its own.
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

_START = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
failed = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
seconds = time.perf_counter() - started
kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"seconds": round(seconds, 2), "peak_memory_mb": round(kilobytes / 1024)}))
sys.exit(failed)
"""


def run_program(command: list[str]) -> dict[str, float]:
    """Return wall seconds and peak memory of a program.

    It is started from a small process: Linux counts the memory of the process that starts a program (this one, with all
    pairs in it) as the program's own.
    """
    done = subprocess.run([sys.executable, "-c", _START, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return json.loads(done.stdout)


def measure_programs(pairs: int, repeats: int, folder: Path) -> dict[str, dict[str, float]]:
    """Return the median seconds, their range, and the peak memory of each program by name."""
    files = list(map(str, _score_corpus.write(folder, pairs)))
    program = str(Path(sys.executable).with_name("speechxfer"))
    commands = {"speechxfer score": [program, "score", *files, "-q", "--by", "speaker"]}
    if shutil.which("sctk"):
        commands["sclite"] = f"sctk sclite -r {files[0]} trn -h {files[1]} trn -i spu_id -o sum stdout".split()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(run_program(command))
    return {
        name: {
            "seconds": statistics.median(run["seconds"] for run in found),
            "range": [min(run["seconds"] for run in found), max(run["seconds"] for run in found)],
            "peak_memory_mb": max(run["peak_memory_mb"] for run in found),
        }
        for name, found in runs.items()
    }


def measure(pairs: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Time reading, scoring and bootstrapping next to jiwer, then whole programs; return the report."""
    import jiwer

    from speechxfer.scoring import ScoringOptions, score
    from speechxfer.scoring.pairing import read_pairs

    reference, hypothesis = _score_corpus.write(folder, pairs)

    def read_and_score(align: str) -> None:
        (read,) = read_pairs(reference, [hypothesis])
        chosen = ScoringOptions(normaliser="none", align=align)
        result = score(read.references, read.hypotheses, ids=read.ids, speakers=read.speakers, options=chosen)
        result.count_by_speaker()

    (read,) = read_pairs(reference, [hypothesis])
    texts = read.references, read.hypotheses
    plain = ScoringOptions(normaliser="none")
    over_speakers = partial(score, *texts, ids=read.ids, speakers=read.speakers, options=plain)
    over_utterances = partial(score, *texts, ids=read.ids, options=plain)
    sides: dict[str, Callable[[], Any]] = {
        "read and score, min": partial(read_and_score, "min"),
        "jiwer.process_words": partial(jiwer.process_words, *texts),
        "read and score, sclite": partial(read_and_score, "sclite"),
        "score alone, min": lambda: over_speakers().count_by_speaker(),
        "10,000 bootstrap draws over speakers": make_bootstrap(over_speakers()),
        "10,000 bootstrap draws over utterances": make_bootstrap(over_utterances()),
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
        "programs": measure_programs(pairs, repeats, folder),
    }


def make_bootstrap(result: Any) -> Callable[[], None]:
    """Return a function that computes the confidence interval of a score anew in each call."""

    def draw() -> None:
        result.__dict__.pop("overall", None)  # the cached_property that holds the interval
        assert result.interval is not None

    return draw


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write its report."""
    parser = options(__doc__)
    parser.add_argument("--pairs", type=int, default=100_000, help="number of utterances (default: %(default)s)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.pairs, given.repeats, Path(folder))
    head = {"command": "python scripts/bench/score.py", "machine": machine()}
    write({**head, "versions": versions("jiwer", "rapidfuzz", "numpy"), **found}, given.json)


if __name__ == "__main__":
    main()
