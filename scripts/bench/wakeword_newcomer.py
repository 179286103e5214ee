"""Train a detector from synthetic voices only, and compare its results on synthetic and on real speech.

    python scripts/bench/wakeword_newcomer.py --corpora ~/corpora --work runs/newcomer --json FILE

This is `speechxfer wakeword train WORD --stream SPEECH` without recordings, for a word of which recordings exist, so
that the detector can be evaluated on people. No real speech is used for training or calibration.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from _measuring import machine, run, versions, write

from speechxfer.report.progress import Reporter
from speechxfer.wakeword.evaluation.evaluate import evaluate_detector
from speechxfer.wakeword.runtime.detector import open_artifact
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.train import train_detector

SNR = 10.0  # dB
KEPT = ("positives", "misses", "miss_rate", "false_alarms", "hours", "false_alarms_per_hour", "intervals", "delay_ms")


def train_and_evaluate(word: str, corpora: Path, work: Path, steps: int | None) -> dict[str, Any]:
    """Return the minutes of training and the results on synthetic and on real speech."""
    folder, given = work / "_".join(word.split()), {} if steps is None else {"steps": steps}
    started = time.monotonic()
    manifest = train_detector(WakeWordSettings(word=word, output=folder, overwrite=True, **given), Reporter(quiet=True))
    minutes = (time.monotonic() - started) / 60
    result = evaluate_detector(
        open_artifact(folder), Reporter(quiet=True), positives=str(corpora / "wakewords/train.csv"),
        streams=[str(corpora / "speechocean762/train.csv")], snrs=[SNR],
    ).to_json()  # fmt: skip
    calibration = manifest["calibration"]
    return {
        "minutes": round(minutes, 1),
        "synthetic": {name: calibration[name] for name in ("positives", "misses", "alarms", "hours", "bound")},
        "real": {name: result[name] for name in KEPT},
        "real_by_condition": {
            value: {name: group[name] for name in ("positives", "misses", "miss_rate")}
            for value, group in result["by"]["condition"].items()
        },
        "mining": {name: manifest["mining"][name] for name in ("stopped", "rounds")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with wakewords/ and speechocean762/")
    parser.add_argument("--work", type=Path, required=True, help="folder of the detectors")
    parser.add_argument("--words", nargs="+", default=("computer",), help="words of wakewords/train.csv")
    parser.add_argument("--steps", type=int, help="training steps, instead of those of `wakeword train`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    write(
        {
            "command": "python scripts/bench/wakeword_newcomer.py --corpora $SPEECHXFER_CORPORA --work runs/newcomer",
            "machine": machine(),
            "versions": versions("torch", "onnxruntime"),
            "words": {word: train_and_evaluate(word, given.corpora, given.work, given.steps) for word in given.words},
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
