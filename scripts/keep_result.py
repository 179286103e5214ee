"""Save the figures of a run: python scripts/keep_result.py RUN --name NAME --corpus "who speaks what" --command "how"

RUN is a run folder, or a folder that scripts/leave_one_out.py wrote. Its figures are written to
recipes/results/NAME.json, from which the tables are generated: rates with counts and intervals, stages, speed,
versions, settings, but no path of this machine. NAME is the recipe's name, or that name with a suffix
(accent-whisper-seed-1). Run `make tables` afterwards.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench._measuring import machine

from speechxfer.config import shipped_recipes
from speechxfer.errors import UserError, suggest_nearest
from speechxfer.scoring.statistics import jackknife_t

RESULTS = Path(__file__).parents[1] / "recipes" / "results"
COUNTS = ("wer", "cer", "substitutions", "deletions", "insertions", "hits", "reference_words", "utterances", "interval")
SYNTHETIC = {"demo"}  # recipes with synthetic speech, which must be stated with every figure
# an absolute path: /a, ~/a, C:\a; not a/b, $CORPORA/a, ../a, hub:a/b or https://a
PATH = re.compile(r"""(?:^|(?<=[\s='"(,\[]))(?:/[A-Za-z_.]|~/|[A-Za-z]:\\)\S*""")


def extract_run(report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a `report.json` that the tables need."""
    provenance = report["provenance"]
    speakers = report["splits"]["test"].get("values of speaker")
    names = ("before", "after", "after_padded_to_30s", "rejected")
    also = ("search", "rescoring", "learning_curve", "advice")  # optional in a run
    sides = {side: None if report.get(side) is None else _side(report[side], speakers) for side in names}
    return {
        "kind": "run",
        "metric": report["metric"],
        "normaliser": _name(report["normaliser"]),
        **{side: found for side, found in sides.items() if found is not None or side == "before"},
        "selected": report["selected"],
        "candidates": report["candidates"],
        "stages": [_stage(stage) for stage in report["stages"]],
        **{name: report[name] for name in also if report.get(name)},
        "splits": {name: _numbers(info) for name, info in report["splits"].items()},
        "speed": report["speed"],
        "seed": provenance["seed"],
        "settings": clean_settings(provenance["recipe"]),
        "checkpoint": provenance["checkpoint"],
        "data": provenance["data"],
        "versions": {"python": provenance["python"], **provenance["versions"]},
    }


def extract_leave_one_out(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the figures that the tables need from leave_one_out.py's `result.json` and its runs."""
    held = result["held_out"]
    one = json.loads((folder / next(iter(held)) / "report.json").read_text(encoding="utf-8"))
    accuracies = {value: entry["accuracy"] for value, entry in held.items()}
    # an utterance is one word, so each error is a substitution
    rows = np.array([[round((1 - e["accuracy"]) * e["utterances"]), e["utterances"]] for e in held.values()], float)
    low, high = jackknife_t(rows)
    return {
        "kind": "leave one out",
        "column": result["column"],
        "mean_accuracy": result["mean_accuracy"],
        "interval": None if np.isnan(low) else [max(0.0, 1 - high), 1 - low],
        "utterances": sum(entry["utterances"] for entry in held.values()),
        "held_out": accuracies,
        "speed": {"total_seconds": sum(entry["seconds"] for entry in held.values()), "device": one["speed"]["device"]},
        "seed": one["provenance"]["seed"],
        "settings": clean_settings(one["provenance"]["recipe"]),
        "checkpoint": one["provenance"]["checkpoint"],
        "versions": {"python": one["provenance"]["python"], **one["provenance"]["versions"]},
    }


def clean_settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe with the names of its tables and models, without their folders and the output."""
    kept = {key: value for key, value in recipe.items() if key not in ("output", "overwrite")}
    kept["data"] = {key: _name(value) for key, value in recipe["data"].items()}
    kept["encoder"] = {**recipe["encoder"], "name": _name(recipe["encoder"]["name"])}
    kept["scoring"] = {**recipe["scoring"], "normaliser": _name(recipe["scoring"]["normaliser"])}
    return kept


def paths_in(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield (key, path) of every absolute path in the texts of a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_in(str(key), f"{where}.{key}".strip("."))
            yield from paths_in(inner, f"{where}.{key}".strip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths_in(inner, f"{where}.{number}")
    elif isinstance(value, str):
        found = PATH.search(value)
        places = [str(place) for place in (Path.home(), Path.cwd()) if place != Path(place.anchor)]
        for path in [found[0]] if found else [place for place in places if place in value]:
            yield where, path


def recipe_of(name: str) -> str:
    """Return the shipped recipe whose name the result's name begins with. Raises UserError if there is none."""
    known = shipped_recipes()
    matches = [recipe for recipe in known if name == recipe or name.startswith(f"{recipe}-")]
    if not matches:
        raise UserError(
            f"'{name}' does not begin with a recipe's name{suggest_nearest(name, known)}",
            where="--name",
            fix=f"use {', '.join(known)}, or one of them with a suffix",
        )
    return max(matches, key=len)


def keep(run: Path, *, name: str, corpus: str, command: str) -> dict[str, Any]:
    """Return the document of a finished run. Raises UserError if it is not finished or contains a path."""
    recipe = recipe_of(name)
    if recipe in SYNTHETIC and "synthetic" not in corpus.lower():
        raise UserError("this recipe's speech is synthetic", where="--corpus", fix="add the word 'synthetic'")
    report, result = run / "report.json", run / "result.json"
    if report.is_file():
        figures = extract_run(json.loads(report.read_text(encoding="utf-8")))
    elif result.is_file():
        figures = extract_leave_one_out(json.loads(result.read_text(encoding="utf-8")), run)
    else:
        raise UserError(
            "has neither report.json nor result.json", where=str(run), fix="wait until the run has finished"
        )
    document = {"recipe": recipe, "corpus": corpus, "command": command, "machine": machine(), **figures}
    for where, path in paths_in(document):
        raise UserError(
            f"'{path}' is a path of this machine", where=where, fix="write $SPEECHXFER_CORPORA/..., or remove it"
        )
    return document


def _side(part: dict[str, Any], speakers: int | None) -> dict[str, Any]:
    """Return the counts of one side and `speakers`: their number, or None if the interval is over utterances."""
    return {key: part[key] for key in COUNTS} | {"speakers": len(part["by"].get("speaker", ())) or speakers}


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    return {
        "train": stage["train"],
        "dev": [epoch["dev"] for epoch in stage["epochs"]],
        "seconds": stage["seconds"],
        "trained_parameters": stage["trained_parameters"],
    }


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def _name(value: Any) -> Any:
    """Return the last part of a path, or `RUN/model`; COLUMN=VALUE, hub:owner/name and other types are kept."""
    if not isinstance(value, str) or value.startswith("hub:") or ("=" in value and not Path(value).is_absolute()):
        return value
    parts = re.split(r"[/\\]", value.rstrip("/\\"))
    return "/".join(parts[-2:] if parts[-1] == "model" else parts[-1:])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True, help="name of the result: the recipe's name, or that with a suffix")
    parser.add_argument("--corpus", required=True, help="description of the data and of the reported speakers")
    parser.add_argument("--command", required=True, help="command that reproduces it, with $SPEECHXFER_CORPORA")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="folder of the results (default: recipes/results)"
    )
    parser.add_argument(
        "--busy", action="store_true", help="the machine was also doing other work: the minutes are an upper bound"
    )
    given = parser.parse_args(arguments)
    document = keep(given.run, name=given.name, corpus=given.corpus, command=given.command) | {"busy": given.busy}
    target = given.results / f"{given.name}.json"
    target.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"saved: {target.name}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
