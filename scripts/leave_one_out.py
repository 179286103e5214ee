"""Leave-one-out evaluation: hold out one value of a column at a time, e.g. each speaker; a run each, and the mean.

    python scripts/leave_one_out.py spoken-commands $SPEECHXFER_CORPORA/fsdd/all.csv --column speaker --output runs/fsdd

Every run is `speechxfer adapt RECIPE data.train=TABLE data.test=COLUMN=VALUE data.split=ignore data.group=COLUMN`, so
the dev split has other values too. Writes OUTPUT/result.json. Arguments after `--` are passed to `adapt`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from speechxfer.adaptation.run import adapt
from speechxfer.config import load_recipe
from speechxfer.data.reader import read
from speechxfer.report.progress import Reporter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("table")
    parser.add_argument("--column", default="speaker")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    reporter = Reporter()
    results: dict[str, dict] = {}
    for value in sorted(set(read(options.table)[options.column])):
        folder = options.output / value
        if not (folder / "report.json").is_file():
            overrides = [
                f"data.train={options.table}",
                f"data.test={options.column}={value}",
                f"data.group={options.column}",
                "data.split=ignore",
                f"output={folder}",
                "overwrite=true",
                *options.overrides,
            ]
            adapt(load_recipe(options.recipe, overrides), name=Path(options.recipe).stem, reporter=reporter)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        results[value] = {key: report["after"][key] for key in ("wer", "interval", "utterances", "substitutions")}
        results[value] |= {"accuracy": 1 - report["after"]["wer"], "seconds": report["speed"]["total_seconds"]}
        reporter.info(f"{value}: accuracy {results[value]['accuracy']:.2%}")
    mean = sum(one["accuracy"] for one in results.values()) / len(results)
    reporter.info(f"mean accuracy over {len(results)} held-out values of {options.column}: {mean:.2%}")
    result = {"recipe": options.recipe, "column": options.column, "mean_accuracy": mean, "held_out": results}
    (options.output / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
