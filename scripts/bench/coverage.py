"""Simulate how often a 95 % interval contains the true WER of new speakers.

python scripts/bench/coverage.py [--repeats 2000] [--json recipes/results/bench-coverage.json]

Each speaker's error probability is drawn from a beta distribution with mean 0.2 and standard deviation 0.1; each
utterance has 5 to 15 words. The true WER is the mean over speakers, 0.2. Each repetition draws a new corpus and makes
both intervals with the functions that `speechxfer score` uses.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _measuring import machine, versions, write

from speechxfer.scoring.statistics import MIN_BOOTSTRAP_UNITS, bootstrap_rate, jackknife_t, sum_by_unit

CORPORA = {
    "100 speakers of 10 utterances": (100, 10),
    "125 of 20": (125, 20),
    "30 of 20": (30, 20),
    "12 of 20": (12, 20),
}
MEAN, DEVIATION = 0.2, 0.1  # of the speakers' error probabilities
NUM_RESAMPLES = 2_000


def make_corpus(speakers: int, utterances: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a corpus: (speakers x utterances, 2) errors and words, and the speaker's number of each utterance."""
    strength = MEAN * (1 - MEAN) / DEVIATION**2 - 1
    rates = rng.beta(MEAN * strength, (1 - MEAN) * strength, size=speakers)
    words = rng.integers(5, 16, size=(speakers, utterances))
    errors = rng.binomial(words, rates[:, None])
    rows = np.column_stack([errors.ravel(), words.ravel()])
    return rows, np.repeat(np.arange(speakers), utterances)


def measure_coverage(speakers: int, utterances: int, repeats: int) -> dict[str, float]:
    """Return the share of intervals that contain the true WER, and their mean width, by resampling unit."""
    rng = np.random.default_rng(speakers)
    covered = {"speakers": 0, "utterances": 0}
    width = {"speakers": 0.0, "utterances": 0.0}
    for repeat in range(repeats):
        rows, codes = make_corpus(speakers, utterances, rng)
        sums = sum_by_unit(rows, codes)
        by_speaker = (
            jackknife_t(sums)
            if speakers < MIN_BOOTSTRAP_UNITS
            else bootstrap_rate(sums, draws=NUM_RESAMPLES, seed=repeat)
        )
        by_utterance = bootstrap_rate(rows.astype(np.float64), draws=NUM_RESAMPLES, seed=repeat)
        for name, (low, high) in (("speakers", by_speaker), ("utterances", by_utterance)):
            covered[name] += low <= MEAN <= high
            width[name] += high - low
    return {
        "over_speakers": covered["speakers"] / repeats,
        "over_utterances": covered["utterances"] / repeats,
        "width_over_speakers": round(width["speakers"] / repeats, 4),
        "width_over_utterances": round(width["utterances"] / repeats, 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulation and write its report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000, help="number of corpora drawn (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    found = {name: measure_coverage(*size, given.repeats) for name, size in CORPORA.items()}
    document = {
        "command": "python scripts/bench/coverage.py",
        "what": "share of corpora whose 95 % interval holds the true WER of new speakers",
        "machine": machine(),
        "versions": versions("numpy"),
        "repeats": given.repeats,
        "draws": NUM_RESAMPLES,
        "truth": {"mean": MEAN, "deviation_between_speakers": DEVIATION},
        "coverage": found,
        "seconds": round(time.perf_counter() - started, 1),
    }
    write(document, given.json)


if __name__ == "__main__":
    main()
