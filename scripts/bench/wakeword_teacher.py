"""Does a teacher pay? The same detector with and without one, on part of the training material of wakeword_folds.py.

    python scripts/bench/wakeword_teacher.py --corpora ~/corpora --work runs/teacher --jobs 2 --steps 60 --json FILE

Nothing of the first fold, which is among those that are reported, is touched: what is chosen here is chosen without it.
Trained on folds three to five, heard on fold two: misses at no false alarm and at one, as recorded, with noise and with
babble. Both sides see the same sounds in the same order, but for the teacher's.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import machine, run, versions, write
from wakeword_folds import CONDITIONS, fold_of, hear, keep, pooled, speaker_folds, table

from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.train import train_detector

UNTOUCHED, HEARD = 0, 1  # folds


def side(teacher: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One detector's figures."""
    import torch

    torch.set_num_threads(1)
    words = [row for row in read_rows(given.corpora / "wakewords/train.csv") if fold_of(row) != UNTOUCHED]
    speech = read_rows(given.corpora / "speechocean762/train.csv")
    folds = speaker_folds(speech)
    speech = [row for row in speech if folds[str(row["speaker"])] != UNTOUCHED][:: given.every]
    name = f"{given.word}-{Path(teacher).name}-{seed}"
    positives = [row for row in words if fold_of(row) != HEARD]
    negatives = [row for row in speech if folds[str(row["speaker"])] != HEARD]
    settings = WakeWordSettings(
        word=given.word, output=given.work / name, overwrite=True, steps=given.steps, extra_rounds=0, seed=seed,
        voices="none", teacher=teacher,
        positives=table(given.work / f"{name}-positives.csv", positives, "audio", "label"),
        negatives=table(given.work / f"{name}-negatives.csv", negatives, "audio", "text", "speaker"),
    )  # fmt: skip
    manifest = train_detector(settings, Reporter(quiet=True))
    of_word = [row for row in words if fold_of(row) == HEARD and row["label"] == given.word]
    others = [row for row in words if fold_of(row) == HEARD and row["label"] != given.word]
    stream = [row for row in speech if folds[str(row["speaker"])] == HEARD]
    found, facts = hear(given.work / name, of_word, others, stream, np.random.default_rng(7))
    kept = keep(given.work / f"{name}.npz", found, {**facts, "cpu_seconds": 0.0})
    conditions = pooled([kept])["conditions"]
    rates = {c: {at: conditions[c][at]["miss_rate"] for at in ("at_0_alarms", "at_1_alarms")} for c in CONDITIONS}
    return {"miss_rate": rates, "seconds": manifest["seconds"], "teacher": manifest["model"]["encoder"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="holds wakewords/ and speechocean762/")
    parser.add_argument("--work", type=Path, required=True, help="where the detectors are written")
    parser.add_argument("--word", default="snowboy", help="one of wakewords/train.csv")
    parser.add_argument("--teacher", default="whisper-tiny.en", help="a MODEL")
    parser.add_argument("--seeds", type=int, default=1, help="of each side")
    parser.add_argument("--steps", type=int, default=60, help="of training")
    parser.add_argument("--every", type=int, default=2, help="one row in so many of the speech")
    parser.add_argument("--jobs", type=int, default=1, help="detectors trained at once, each on one thread")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(given.jobs) as pool:
        jobs = {
            teacher: [pool.submit(side, teacher, seed, given) for seed in range(given.seeds)]
            for teacher in ("none", given.teacher)
        }
        sides = {teacher: [job.result() for job in started] for teacher, started in jobs.items()}
    write(
        {
            "command": f"python scripts/bench/wakeword_teacher.py --corpora $SPEECHXFER_CORPORA --steps {given.steps}",
            "machine": machine(),
            "versions": versions("torch", "onnxruntime"),
            "word": given.word,
            "steps": given.steps,
            "sides": sides,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
