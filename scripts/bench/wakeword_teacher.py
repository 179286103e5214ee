"""Compare detectors trained with and without a teacher, on part of the training data of wakeword_folds.py.

    python scripts/bench/wakeword_teacher.py --corpora ~/corpora --work runs/teacher --jobs 2 --steps 60 --json FILE

The first fold, whose results are reported, is not used, so that no decision made here depends on it. Detectors are
trained on folds three to five and evaluated on fold two: misses at no false alarm and at one, clean, with noise and
with babble. Both sides use the same batches in the same order, except for the teacher's windows.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import machine, run, versions, write
from wakeword_folds import (
    CONDITIONS,
    assign_fold,
    assign_speaker_folds,
    evaluate_pooled,
    score_fold,
    write_rows,
    write_scores,
)

from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.train import train_detector

EXCLUDED_FOLD, TEST_FOLD = 0, 1


def evaluate_side(teacher: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Train one detector and return its results."""
    import torch

    torch.set_num_threads(1)
    words = [row for row in read_rows(given.corpora / "wakewords/train.csv") if assign_fold(row) != EXCLUDED_FOLD]
    speech = read_rows(given.corpora / "speechocean762/train.csv")
    folds = assign_speaker_folds(speech)
    speech = [row for row in speech if folds[str(row["speaker"])] != EXCLUDED_FOLD][:: given.every]
    name = f"{given.word}-{Path(teacher).name}-{seed}"
    positives = [row for row in words if assign_fold(row) != TEST_FOLD]
    negatives = [row for row in speech if folds[str(row["speaker"])] != TEST_FOLD]
    settings = WakeWordSettings(
        word=given.word, output=given.work / name, overwrite=True, steps=given.steps, extra_rounds=0, seed=seed,
        voices="none", teacher=teacher,
        positives=write_rows(given.work / f"{name}-positives.csv", positives, "audio", "label"),
        negatives=write_rows(given.work / f"{name}-negatives.csv", negatives, "audio", "text", "speaker"),
    )  # fmt: skip
    manifest = train_detector(settings, Reporter(quiet=True))
    clips = [row for row in words if assign_fold(row) == TEST_FOLD and row["label"] == given.word]
    others = [row for row in words if assign_fold(row) == TEST_FOLD and row["label"] != given.word]
    stream = [row for row in speech if folds[str(row["speaker"])] == TEST_FOLD]
    scores, facts = score_fold(given.work / name, clips, others, stream, np.random.default_rng(7))
    scores_file = write_scores(given.work / f"{name}.npz", scores, {**facts, "cpu_seconds": 0.0})
    conditions = evaluate_pooled([scores_file])["conditions"]
    rates = {c: {at: conditions[c][at]["miss_rate"] for at in ("at_0_alarms", "at_1_alarms")} for c in CONDITIONS}
    return {"miss_rate": rates, "seconds": manifest["seconds"], "teacher": manifest["model"]["encoder"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with wakewords/ and speechocean762/")
    parser.add_argument("--work", type=Path, required=True, help="folder of the detectors")
    parser.add_argument("--word", default="snowboy", help="one of wakewords/train.csv")
    parser.add_argument("--teacher", default="whisper-tiny.en", help="a MODEL")
    parser.add_argument("--seeds", type=int, default=1, help="detectors of each side")
    parser.add_argument("--steps", type=int, default=60, help="training steps")
    parser.add_argument("--every", type=int, default=2, help="use one in this many rows of the speech")
    parser.add_argument("--jobs", type=int, default=1, help="detectors trained in parallel, with one thread each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(given.jobs) as pool:
        jobs = {
            teacher: [pool.submit(evaluate_side, teacher, seed, given) for seed in range(given.seeds)]
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
