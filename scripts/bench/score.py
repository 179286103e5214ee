"""How fast is scoring? python scripts/bench/score.py [--pairs 100000] [--json recipes/results/bench-score.json]

From two trn files to substitutions, deletions and insertions by speaker, beside `jiwer.process_words` (which starts
from texts already read) in the same process, the best of three each; then the whole program, sclite (where Debian's
sctk is installed), and streams of as many and of ten times as many pairs. Peak memory is that of a process of its own.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _score_corpus import write

_STREAM = """
import sys
from pathlib import Path
from speechxfer.scoring.stream import score_stream, trn_pairs
print(score_stream(trn_pairs(Path(sys.argv[1]), Path(sys.argv[2])), normaliser="none").total.summary())
"""


def best(work: Callable[[], Any], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def program(command: list[str]) -> dict[str, float]:
    """Wall seconds and peak memory of a program."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {status}")
    return {"seconds": round(time.perf_counter() - started, 2), "peak_memory_mb": round(usage.ru_maxrss / 1024)}


def measure(pairs: int, folder: Path) -> dict[str, Any]:
    import jiwer

    from speechxfer.scoring import score
    from speechxfer.scoring.matching import read_pairs

    reference, hypothesis = write(folder, pairs)

    def ours(align: str) -> Any:
        (read,) = read_pairs(reference, [hypothesis])
        found = score(read.references, read.hypotheses, read.ids, read.speakers, normaliser="none", align=align)
        return read, found, found.by_speaker()

    seconds = {f"read and score, {align}": best(lambda align=align: ours(align)) for align in ("min", "sclite")}
    read, found, _ = ours("min")
    seconds["score alone, min"] = best(
        lambda: score(read.references, read.hypotheses, read.ids, read.speakers, normaliser="none").by_speaker()
    )
    started = time.perf_counter()
    print(found.summary())
    seconds["10,000 bootstrap draws over speakers"] = time.perf_counter() - started
    alone = score(read.references, read.hypotheses, read.ids, normaliser="none")
    started = time.perf_counter()
    print(alone.summary())
    seconds["10,000 bootstrap draws over utterances"] = time.perf_counter() - started
    seconds["jiwer.process_words"] = best(lambda: jiwer.process_words(read.references, read.hypotheses))
    theirs = seconds["jiwer.process_words"]
    speechxfer = str(Path(sys.executable).with_name("speechxfer"))
    files = [str(reference), str(hypothesis)]
    programs = {"speechxfer score": program([speechxfer, "score", *files, "--quiet", "--by", "speaker"])}
    if shutil.which("sctk"):
        command = [
            "sctk",
            "sclite",
            "-r",
            files[0],
            "trn",
            "-h",
            files[1],
            "trn",
            "-i",
            "spu_id",
            "-o",
            "sum",
            "stdout",
        ]
        programs["sclite"] = program(command)
    for size in (pairs, 10 * pairs):
        paths = write(folder, size)
        programs[f"stream of {size:,} pairs"] = program([sys.executable, "-c", _STREAM, *map(str, paths)])
    return {
        "pairs": pairs,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "of_jiwer": {name: round(value / theirs, 2) for name, value in seconds.items() if "score" in name},
        "programs": programs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.pairs, Path(folder))
    document = {
        "command": "python scripts/bench/score.py",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        **found,
    }
    print(json.dumps(document, indent=2))
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
