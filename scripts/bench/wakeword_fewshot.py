"""Train detectors from five recordings of *snowboy* and synthetic speech, for ten random choices of the five.

    python scripts/bench/wakeword_fewshot.py --corpora ~/corpora --work runs/fewshot --jobs 2 --json FILE

Each detector is trained as by `speechxfer wakeword train --positives FIVE --negatives SPEECH`, on four folds of the
speech's speakers, and evaluated on all other recordings of the word and on the fifth fold (half an hour): misses at the
thresholds of no false alarm and of one. The recordings' speakers are unknown, so a speaker of the five may be among the
others.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import machine, run, spread, versions, write
from wakeword_folds import (
    CONDITIONS,
    FOLDS,
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

WORD = "snowboy"
SHOTS = 5


def evaluate_draw(number: int, corpora: Path, work: Path, steps: int | None) -> Path:
    """Train and evaluate one choice; return its file of scores, written as in scripts/bench/wakeword_folds.py."""
    import torch

    torch.set_num_threads(1)
    scores_file = work / f"draw-{number}.npz"
    if scores_file.is_file():
        return scores_file
    words, speech = read_rows(corpora / "wakewords/train.csv"), read_rows(corpora / "speechocean762/train.csv")
    folds = assign_speaker_folds(speech)
    with_word = [row for row in words if row["label"] == WORD]
    chosen = set(np.random.default_rng([5, number]).choice(len(with_word), SHOTS, replace=False))
    five = work / f"draw-{number}.txt"
    five.write_text("\n".join(with_word[i]["path"] for i in sorted(chosen)) + "\n", encoding="utf-8")
    train = [row for row in speech if folds[str(row["speaker"])] != number % FOLDS]
    negatives = write_rows(work / f"draw-{number}.csv", train, "audio", "text", "speaker")
    given: dict[str, Any] = {"voices": "none"}  # independent of the installed voices
    if steps is not None:
        given["steps"] = steps
    folder = work / f"draw-{number}"
    settings = WakeWordSettings(
        word=WORD, positives=str(five), negatives=negatives, output=folder, overwrite=True, seed=number, **given
    )
    train_detector(settings, Reporter(quiet=True))
    others = [row for row in words if row["label"] != WORD]
    stream = [row for row in speech if folds[str(row["speaker"])] == number % FOLDS]
    rest = [row for i, row in enumerate(with_word) if i not in chosen]
    scores, facts = score_fold(folder, rest, others, stream, np.random.default_rng([number, 7]))
    return write_scores(scores_file, scores, {**facts, "cpu_seconds": 0.0})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with wakewords/ and speechocean762/")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of detectors and scores, reused by the next run"
    )
    parser.add_argument("--draws", type=int, default=10, help="number of random choices")
    parser.add_argument("--steps", type=int, help="training steps, instead of those of `wakeword train`")
    parser.add_argument("--jobs", type=int, default=1, help="detectors trained in parallel, with one thread each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(given.jobs) as pool:
        jobs = [
            pool.submit(evaluate_draw, number, given.corpora, given.work, given.steps) for number in range(given.draws)
        ]
        draws = [evaluate_pooled([job.result()]) for job in jobs]
    rates = {
        condition: {
            at: [draw["conditions"][condition][at]["miss_rate"] for draw in draws]
            for at in ("at_0_alarms", "at_1_alarms")
        }
        for condition in CONDITIONS
    }
    write(
        {
            "command": "python scripts/bench/wakeword_fewshot.py --corpora $SPEECHXFER_CORPORA --work runs/fewshot"
            + (f" --steps {given.steps}" if given.steps else ""),
            "machine": machine(),
            "versions": versions("torch", "onnxruntime"),
            "word": WORD,
            "recordings": SHOTS,
            "miss_rate": {
                c: {at: spread(values, 4) for at, values in by_alarms.items()} for c, by_alarms in rates.items()
            },
            "draws": rates,
            "hours_of_each_draw": [draw["conditions"][CONDITIONS[0]]["at_0_alarms"]["hours"] for draw in draws],
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
