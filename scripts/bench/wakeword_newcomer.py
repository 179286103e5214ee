"""A detector without any recording, from a word and synthetic voices: its figures on synthetic and on real speech.

    python scripts/bench/wakeword_newcomer.py --corpora ~/corpora --work runs/newcomer --json FILE

What `speechxfer wakeword train WORD --stream SPEECH` does for a newcomer, for a word of which real recordings exist, so
that what it is worth on people can be told: nothing real is part of the training or of the calibration.
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


def newcomer(word: str, corpora: Path, work: Path, steps: int | None) -> dict[str, Any]:
    """Minutes of training, and figures of both kinds."""
    folder, given = work / "_".join(word.split()), {} if steps is None else {"steps": steps}
    started = time.monotonic()
    manifest = train_detector(WakeWordSettings(word=word, output=folder, overwrite=True, **given), Reporter(quiet=True))
    minutes = (time.monotonic() - started) / 60
    found = evaluate_detector(
        open_artifact(folder), Reporter(quiet=True), positives=str(corpora / "wakewords/train.csv"),
        streams=[str(corpora / "speechocean762/train.csv")], snrs=[SNR],
    ).to_json()  # fmt: skip
    calibration = manifest["calibration"]
    return {
        "minutes": round(minutes, 1),
        "synthetic": {name: calibration[name] for name in ("positives", "misses", "alarms", "hours", "bound")},
        "real": {name: found[name] for name in KEPT},
        "real_by_condition": {
            value: {name: part[name] for name in ("positives", "misses", "miss_rate")}
            for value, part in found["by"]["condition"].items()
        },
        "mining": {name: manifest["mining"][name] for name in ("stopped", "rounds")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="holds wakewords/ and speechocean762/")
    parser.add_argument("--work", type=Path, required=True, help="where the detectors are written")
    parser.add_argument("--words", nargs="+", default=("computer",), help="words of wakewords/train.csv")
    parser.add_argument("--steps", type=int, help="of training, else as `wakeword train` has it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    write(
        {
            "command": "python scripts/bench/wakeword_newcomer.py --corpora $SPEECHXFER_CORPORA --work runs/newcomer",
            "machine": machine(),
            "versions": versions("torch", "onnxruntime"),
            "words": {word: newcomer(word, given.corpora, given.work, given.steps) for word in given.words},
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
