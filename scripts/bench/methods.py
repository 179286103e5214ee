"""What each way of adapting is worth: python scripts/bench/methods.py TRAIN TEST --work runs/methods [--every 4]

The same checkpoint, training speakers, dev speakers and reported speakers for all: Whisper's decoder alone on frozen
frames, low-rank adapters, stages, every layer, and every layer with a CTC head beside the decoder; each by its recipe
as it is shipped, decoded greedily. WER on the reported speakers of what dev chose, trained parameters, seconds of
training, and the peak memory of the whole command.

TRAIN has a column `split` that says which rows are dev, as scripts/prepare_speechocean762.py --hold-out writes it.
--every takes one training speaker in so many. A run that stands in --work, or in the file that --json names, is not
done again; that file is written after every method.
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
KEPT = "method.json"  # in a run's folder: what was measured from outside


def fewer_speakers(source: Path, every: int, target: Path) -> None:
    """The dev rows of a table, and of the others those of one speaker in `every`."""
    rows = [dict(row) for row in read(source)]
    train = sorted({str(row["speaker"]) for row in rows if row["split"] != "dev"})[::every]
    chosen = [row for row in rows if row["split"] == "dev" or row["speaker"] in train]
    write_table(target, [{**row, "audio": row["path"]} for row in chosen], ["audio", "text", "speaker", "split"])


def measured(name: str, table: Path, test: Path, work: Path, settings: Sequence[str]) -> dict[str, Any]:
    """One method's figures."""
    folder = work / name
    if not (folder / KEPT).is_file():
        recipe, own = METHODS[name]
        say(f"{name}: speechxfer adapt {recipe} {' '.join(own)}")
        common = [f"data.train={table}", f"data.test={test}", "decoding.kind=greedy", "overwrite=true"]
        report, _, memory = adapted(recipe, [*common, *own, *settings], folder)
        found = {
            "settings": " ".join([recipe, *own]),
            "kept": report["kept"],
            "before": _rate(report["before"]),
            "after": _rate(report["after"]),
            "dev": report["candidates"],
            "trained_parameters": max(stage["trained_parameters"] for stage in report["stages"]),
            "training_seconds": report["speed"]["training_seconds"],
            "peak_memory_mb": round(memory),
            "train_utterances": report["parts"]["train"]["utterances"],
        }
        (folder / KEPT).write_text(json.dumps(found), encoding="utf-8")
    return json.loads((folder / KEPT).read_text(encoding="utf-8"))


def _rate(part: dict[str, Any]) -> dict[str, Any]:
    kept = {name: part[name] for name in ("wer", "interval", "utterances", "reference_words")}
    return kept | {"speakers": part["interval_over"] == "speakers"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="a table with `speaker` and `split`")
    parser.add_argument("test", type=Path, help="the reported speakers")
    parser.add_argument("--work", type=Path, required=True, help="run folders, kept for the next call")
    parser.add_argument("--every", type=int, default=4, help="one training speaker in so many; default %(default)s")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="which of them")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="passed on to adapt")
    parser.add_argument("--busy", action="store_true", help="the machine did other work too: seconds are upper bounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    table = given.work.absolute() / "train.csv"
    fewer_speakers(given.train, given.every, table)
    known = _known(given.json, given.every)
    document: dict[str, Any] = {
        "command": f"python scripts/bench/methods.py {named(given.train)} {named(given.test)} --work runs/methods",
        "every": given.every,
        "methods": known,
        "missing": [name for name in METHODS if name not in known],
    }
    for name in given.methods:
        if name not in document["methods"]:
            of = measured(name, table, given.test.absolute(), given.work.absolute(), given.set)
            here = {"machine": machine(), "busy": given.busy, "versions": versions("torch", "transformers")}
            document["methods"][name] = of | here
            document["missing"].remove(name)
            if given.json:
                given.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write(document, given.json)


def _known(file: Path | None, every: int) -> dict[str, Any]:
    """The methods that a file holds already, of the same training speakers."""
    if file is None or not file.is_file():
        return {}
    kept = json.loads(file.read_text(encoding="utf-8"))
    return kept["methods"] if kept["every"] == every else {}


if __name__ == "__main__":
    run(main)
