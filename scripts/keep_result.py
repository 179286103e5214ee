"""Keep a run's figures: python scripts/keep_result.py RUN --name NAME --corpus "who speaks what" --command "how"

RUN is a run folder, or a folder that scripts/leave_one_out.py wrote. Its figures become recipes/results/NAME.json, the
source of every table: rates with counts and intervals, stages, speed, versions, settings; no path of this machine.
NAME is the recipe's name, or that name with a suffix (accent-whisper-seed-1). `make tables` then writes the tables.
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
SYNTHETIC = {"demo"}  # recipes whose speech is synthetic, which has to be said beside every figure
# an absolute path: /a, ~/a, C:\a; not a/b, $CORPORA/a, ../a, hub:a/b or https://a
PATH = re.compile(r"""(?:^|(?<=[\s='"(,\[]))(?:/[A-Za-z_.]|~/|[A-Za-z]:\\)\S*""")


def of_run(report: dict[str, Any]) -> dict[str, Any]:
    """What a table needs of a `report.json`."""
    provenance = report["provenance"]
    speakers = report["parts"]["test"].get("values of speaker")
    names = ("before", "after", "after_padded_to_30s", "rejected")
    also = ("search", "rescoring", "learning_curve", "advice")  # where the run has them
    sides = {side: None if report.get(side) is None else _side(report[side], speakers) for side in names}
    return {
        "kind": "run",
        "measure": report["measure"],
        "normaliser": _name(report["normaliser"]),
        **{side: found for side, found in sides.items() if found is not None or side == "before"},
        "kept": report["kept"],
        "candidates": report["candidates"],
        "stages": [_stage(stage) for stage in report["stages"]],
        **{name: report[name] for name in also if report.get(name)},
        "parts": {name: _numbers(stated) for name, stated in report["parts"].items()},
        "speed": report["speed"],
        "seed": provenance["seed"],
        "settings": settings(provenance["recipe"]),
        "checkpoint": provenance["checkpoint"],
        "data": provenance["data"],
        "versions": {"python": provenance["python"], **provenance["versions"]},
    }


def of_leave_one_out(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a table needs of leave_one_out.py's `result.json`, and of the runs beside it."""
    held = result["held_out"]
    one = json.loads((folder / next(iter(held)) / "report.json").read_text(encoding="utf-8"))
    accuracies = {value: entry["accuracy"] for value, entry in held.items()}
    # right or wrong: an utterance is one word, so its error is a substitution
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
        "settings": settings(one["provenance"]["recipe"]),
        "checkpoint": one["provenance"]["checkpoint"],
        "versions": {"python": one["provenance"]["python"], **one["provenance"]["versions"]},
    }


def settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe's values, its tables and models by their names alone, without where it wrote."""
    kept = {key: value for key, value in recipe.items() if key not in ("output", "overwrite")}
    kept["data"] = {key: _name(value) for key, value in recipe["data"].items()}
    kept["encoder"] = {**recipe["encoder"], "name": _name(recipe["encoder"]["name"])}
    kept["scoring"] = {**recipe["scoring"], "normaliser": _name(recipe["scoring"]["normaliser"])}
    return kept


def paths_in(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(key, path) of every absolute path in a document's texts."""
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
    """The shipped recipe that a result's name begins with. Raises UserError where there is none."""
    known = shipped_recipes()
    fitting = [recipe for recipe in known if name == recipe or name.startswith(f"{recipe}-")]
    if not fitting:
        raise UserError(
            f"'{name}' begins with no recipe's name{suggest_nearest(name, known)}",
            where="--name",
            fix=f"{', '.join(known)}, or one of them with a suffix",
        )
    return max(fitting, key=len)


def keep(run: Path, *, name: str, corpus: str, command: str) -> dict[str, Any]:
    """The document of a finished run. Raises UserError where it is not finished, or would tell a path."""
    recipe = recipe_of(name)
    if recipe in SYNTHETIC and "synthetic" not in corpus.lower():
        raise UserError("this recipe's speech is synthetic", where="--corpus", fix="say so: a figure is read with it")
    report, result = run / "report.json", run / "result.json"
    if report.is_file():
        figures = of_run(json.loads(report.read_text(encoding="utf-8")))
    elif result.is_file():
        figures = of_leave_one_out(json.loads(result.read_text(encoding="utf-8")), run)
    else:
        raise UserError("holds neither report.json nor result.json", where=str(run), fix="let the run end first")
    document = {"recipe": recipe, "corpus": corpus, "command": command, "machine": machine(), **figures}
    for where, path in paths_in(document):
        raise UserError(
            f"'{path}' is a path of this machine", where=where, fix="write $SPEECHXFER_CORPORA/..., or leave it out"
        )
    return document


def _side(part: dict[str, Any], speakers: int | None) -> dict[str, Any]:
    """speakers: how many the interval is over; None where they are not known, and it is over utterances."""
    return {key: part[key] for key in COUNTS} | {"speakers": len(part["by"].get("speaker", ())) or speakers}


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    return {
        "train": stage["train"],
        "dev": [epoch["dev"] for epoch in stage["epochs"]],
        "seconds": stage["seconds"],
        "trained_parameters": stage["trained_parameters"],
    }


def _numbers(stated: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stated.items() if isinstance(value, int | float)}


def _name(value: Any) -> Any:
    """The last part of a path, `RUN/model` of a run's; COLUMN=VALUE, hub:owner/name and what is no text as they are."""
    if not isinstance(value, str) or value.startswith("hub:") or ("=" in value and not Path(value).is_absolute()):
        return value
    parts = re.split(r"[/\\]", value.rstrip("/\\"))
    return "/".join(parts[-2:] if parts[-1] == "model" else parts[-1:])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True, help="of the result: the recipe's, or that with a suffix")
    parser.add_argument("--corpus", required=True, help="who speaks what, and which speakers are reported")
    parser.add_argument("--command", required=True, help="what reproduces it, with $SPEECHXFER_CORPORA for the corpora")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: recipes/results")
    parser.add_argument(
        "--busy", action="store_true", help="the machine did other work too: its minutes are an upper bound"
    )
    given = parser.parse_args(arguments)
    document = keep(given.run, name=given.name, corpus=given.corpus, command=given.command) | {"busy": given.busy}
    target = given.results / f"{given.name}.json"
    target.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"kept: {target.name}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
