"""Damaged and odd input through every command that reads it: no hang, no traceback, nothing lost, one verdict.

python scripts/torture.py audio --count 300 --seed 0 --work DIR
python scripts/torture.py texts --count 60 --seed 0 --work DIR   # tables, recipes, language models, models, detectors
python scripts/torture.py kills --count 30 --seed 0 --work DIR   # killed at random points, and run again
python scripts/torture.py disk --count 10 --seed 0 --work DIR    # on file systems that are too small (needs root)

Each command must end within 60 s and 4 GB with exit code 0, 1 or 2, without a traceback, and leave its input as it
was; commands that read the same audio must agree on it. Prints the verdicts; exit code 1 if something is wrong. The
model and the detector are random ones of tests/conftest.py, as verdicts do not depend on weights.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch starts; commands run in forks of this process
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import _torture_audio
import _torture_disk
import _torture_kills
import _torture_texts
from _torture import list_violations, print_table

PARTS = {  # functions of (work folder, count, seed, audio, jobs, commands to skip) that return results
    "audio": _torture_audio.run,
    "texts": _torture_texts.run,
    "kills": _torture_kills.run,
    "disk": _torture_disk.run,
}


def main() -> int:
    """Run one part; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS, help="which input")
    parser.add_argument("--count", type=int, default=300, help="number of cases")
    parser.add_argument("--seed", type=int, default=0, help="of the cases")
    parser.add_argument("--work", type=Path, required=True, help="a folder for the cases and the models; kept")
    parser.add_argument("--wav", type=Path, help="the audio that the cases are made from (default: synthesised)")
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time")
    parser.add_argument("--skip", action="append", default=[], metavar="COMMAND", help="of the table (repeatable)")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    wave = _torture_audio.read_wave(given.wav)
    results = PARTS[given.part](given.work, given.count, given.seed, wave, given.jobs, given.skip)
    print_table(results)
    violations = list_violations(results)
    print(*violations, sep="\n")
    print(f"{len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
