"""A detector from five recordings: ten draws of five of *snowboy*, nothing else of that word seen but synthetic speech.

    python scripts/bench/wakeword_fewshot.py --corpora ~/corpora --work runs/fewshot --jobs 2 --json FILE

Each draw is trained as `speechxfer wakeword train --positives FIVE --negatives SPEECH` does it, on four folds of the
speech's speakers, and hears all the other recordings of the word and the fifth fold: misses at the threshold of no
alarm in it, which is an hour's half, and at that of one. The recordings' speakers are not named: a person of the five
may stand among the others.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import machine, run, spread, versions, write
from wakeword_folds import CONDITIONS, FOLDS, hear, keep, pooled, speaker_folds, table

from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.train import train_detector

WORD = "snowboy"
SHOTS = 5


def draw(number: int, corpora: Path, work: Path, steps: int | None) -> Path:
    """One draw: a file of scores in `work`, as scripts/bench/wakeword_folds.py keeps them."""
    import torch

    torch.set_num_threads(1)
    kept = work / f"draw-{number}.npz"
    if kept.is_file():
        return kept
    words, speech = read_rows(corpora / "wakewords/train.csv"), read_rows(corpora / "speechocean762/train.csv")
    folds = speaker_folds(speech)
    of_word = [row for row in words if row["label"] == WORD]
    chosen = set(np.random.default_rng([5, number]).choice(len(of_word), SHOTS, replace=False))
    five = work / f"draw-{number}.txt"
    five.write_text("\n".join(of_word[i]["path"] for i in sorted(chosen)) + "\n", encoding="utf-8")
    apart = [row for row in speech if folds[str(row["speaker"])] != number % FOLDS]
    negatives = table(work / f"draw-{number}.csv", apart, "audio", "text", "speaker")
    given: dict[str, Any] = {"voices": "none"}  # whatever is installed here
    if steps is not None:
        given["steps"] = steps
    folder = work / f"draw-{number}"
    settings = WakeWordSettings(
        word=WORD, positives=str(five), negatives=negatives, output=folder, overwrite=True, seed=number, **given
    )
    train_detector(settings, Reporter(quiet=True))
    others = [row for row in words if row["label"] != WORD]
    heard = [row for row in speech if folds[str(row["speaker"])] == number % FOLDS]
    rest = [row for i, row in enumerate(of_word) if i not in chosen]
    found, facts = hear(folder, rest, others, heard, np.random.default_rng([number, 7]))
    return keep(kept, found, {**facts, "cpu_seconds": 0.0})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="holds wakewords/ and speechocean762/")
    parser.add_argument("--work", type=Path, required=True, help="detectors and scores, kept for the next run")
    parser.add_argument("--draws", type=int, default=10, help="how many times five are drawn")
    parser.add_argument("--steps", type=int, help="of training, else as `wakeword train` has it")
    parser.add_argument("--jobs", type=int, default=1, help="detectors trained at once, each on one thread")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(given.jobs) as pool:
        jobs = [pool.submit(draw, number, given.corpora, given.work, given.steps) for number in range(given.draws)]
        draws = [pooled([job.result()]) for job in jobs]
    rates = {
        condition: {
            at: [of["conditions"][condition][at]["miss_rate"] for of in draws] for at in ("at_0_alarms", "at_1_alarms")
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
            "miss_rate": {c: {at: spread(values, 4) for at, values in of.items()} for c, of in rates.items()},
            "draws": rates,
            "hours_of_each_draw": [of["conditions"][CONDITIONS[0]]["at_0_alarms"]["hours"] for of in draws],
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
