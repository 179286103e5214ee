"""Compare adaptation methods: python scripts/bench/methods.py TRAIN TEST --work runs/methods [--every 4]

All methods use the same checkpoint, training, dev and test speakers: Whisper's decoder alone on frozen frames, low-rank
adapters, stages, all layers, and all layers with an additional CTC head; each with its shipped recipe and greedy
decoding. Reports the WER on the test speakers of the model selected on dev, trained parameters, seconds of training,
and the peak memory of the whole command.

TRAIN has a column `split` that marks the dev rows, as scripts/prepare_speechocean762.py --hold-out writes it. --every N
uses every N-th training speaker. A run that exists in --work, or in the file of --json, is not repeated; the file is
written after every method.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _measuring import machine, named, run, versions, write
from _processes import adapted, say

from speechxfer.data.reader import read
from speechxfer.data.tables import write_table

METHODS: dict[str, tuple[str, list[str]]] = {
    "head": ("accent-whisper", ["stages.0.train=head", "stages.0.decoder_lr=1e-4"]),
    "LoRA": ("accent-whisper", ["lora.rank=8", "stages.0.lr=1e-3", "stages.0.decoder_lr=1e-3"]),
    "staged": ("staged", []),
    "full": ("accent-whisper", []),
    "joint": ("accent-best", []),
}
RESULT_FILE = "method.json"  # in a run's folder


def write_speaker_subset(source: Path, every: int, target: Path) -> None:
    """Write the dev rows of a table, and those of every `every`-th training speaker."""
    rows = [dict(row) for row in read(source)]
    train = sorted({str(row["speaker"]) for row in rows if row["split"] != "dev"})[::every]
    selected = [row for row in rows if row["split"] == "dev" or row["speaker"] in train]
    write_table(target, [{**row, "audio": row["path"]} for row in selected], ["audio", "text", "speaker", "split"])


def measure_method(name: str, table: Path, test: Path, work: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Run one method, unless it has a result already, and return its figures."""
    folder = work / name
    if not (folder / RESULT_FILE).is_file():
        recipe, overrides = METHODS[name]
        say(f"{name}: speechxfer adapt {recipe} {' '.join(overrides)}")
        common = [f"data.train={table}", f"data.test={test}", "decoding.kind=greedy", "overwrite=true"]
        report, _, memory = adapted(recipe, [*common, *overrides, *settings], folder)
        result = {
            "settings": " ".join([recipe, *overrides]),
            "selected": report["selected"],
            "before": _select_rates(report["before"]),
            "after": _select_rates(report["after"]),
            "dev": report["candidates"],
            "trained_parameters": max(stage["trained_parameters"] for stage in report["stages"]),
            "training_seconds": report["speed"]["training_seconds"],
            "peak_memory_mb": round(memory),
            "train_utterances": report["splits"]["train"]["utterances"],
        }
        (folder / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")
    return json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))


def _select_rates(result: dict[str, Any]) -> dict[str, Any]:
    rates = {name: result[name] for name in ("wer", "interval", "utterances", "reference_words")}
    return rates | {"speakers": result["interval_over"] == "speakers"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="table with columns speaker and split")
    parser.add_argument("test", type=Path, help="table of the test speakers")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs, reused by later calls")
    parser.add_argument("--every", type=int, default=4, help="use every N-th training speaker; default %(default)s")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="methods to run")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="passed to adapt")
    parser.add_argument("--busy", action="store_true", help="other processes are running, so seconds are upper bounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    table = given.work.absolute() / "train.csv"
    write_speaker_subset(given.train, given.every, table)
    known = _read_results(given.json, given.every)
    document: dict[str, Any] = {
        "command": f"python scripts/bench/methods.py {named(given.train)} {named(given.test)} --work runs/methods",
        "every": given.every,
        "methods": known,
        "missing": [name for name in METHODS if name not in known],
    }
    for name in given.methods:
        if name not in document["methods"]:
            result = measure_method(name, table, given.test.absolute(), given.work.absolute(), given.set)
            system = {"machine": machine(), "busy": given.busy, "versions": versions("torch", "transformers")}
            document["methods"][name] = result | system
            document["missing"].remove(name)
            if given.json:
                given.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write(document, given.json)


def _read_results(file: Path | None, every: int) -> dict[str, Any]:
    """Read the results of a file, if they are for the same training speakers."""
    if file is None or not file.is_file():
        return {}
    document = json.loads(file.read_text(encoding="utf-8"))
    return document["methods"] if document["every"] == every else {}


if __name__ == "__main__":
    run(main)
