"""One side of `equal_behaviour.py`: a checkout, where its outputs go, and how its command line is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAUNCH = Path(__file__).with_name("_equal_launch.py")
KEYS = Path(__file__).with_name("renamed_keys.json")
EXITS = "exits.json"  # in a case's folder: every command's exit code


class CaseError(Exception):
    """A command ended with another exit code than it should, or a case lacks what it needs."""


def environment(tree: Path, work: Path, threads: int) -> dict[str, str]:
    """Return the variables of every subprocess: the tree's package, caches within `work`, a fixed number of threads."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPEECHXFER_", "PYTHON"))}
    return kept | {
        "PYTHONPATH": str(tree),
        "PYTHONPYCACHEPREFIX": str(work / "pycache"),  # nothing is written into the tree
        "PYTHONHASHSEED": "0",
        "SPEECHXFER_CACHE": str(work / "cache"),
        "SPEECHXFER_FRAMES": str(work / "frames"),
        "HF_HOME": str(work / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def renamed(keys: Mapping[str, str], dotted: str) -> str:
    """Return a recipe's key in the new spelling; a stage's number is `N` in the map."""
    parts = dotted.split(".")
    general = ".".join("N" if part.isdigit() else part for part in parts)
    for old, new in keys.items():
        if general == old or general.startswith(f"{old}."):
            whole = new.split(".") + parts[len(old.split(".")) :]
            numbers = iter(part for part in parts if part.isdigit())
            return ".".join(next(numbers) if part == "N" else part for part in whole)
    return dotted


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as dotted keys to values; only lists of mappings are entered."""
    if isinstance(values, Mapping):
        pairs = values.items()
    elif isinstance(values, list) and values and all(isinstance(one, Mapping) for one in values):
        pairs = [(str(number), one) for number, one in enumerate(values)]
    else:
        return {prefix: values}
    return {key: v for name, one in pairs for key, v in flatten(one, f"{prefix}.{name}" if prefix else name).items()}


def nest(flat: Mapping[str, Any]) -> Any:
    """Undo `flatten`."""
    if list(flat) == [""]:
        return flat[""]
    groups: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        name, _, rest = key.partition(".")
        groups.setdefault(name, {})[rest] = value
    nested = {name: nest(group) for name, group in groups.items()}
    return list(nested.values()) if all(name.isdigit() for name in nested) else nested


@dataclass
class Side:
    """A case's folder on one side, and the ways to run the tree's command line in it.

    keys: by schema (`recipe`, `wakeword`), old spelling to the one that this tree knows.
    """

    tree: Path
    work: Path
    inputs: Path
    folder: Path
    keys: Mapping[str, Mapping[str, str]]
    threads: int
    exits: dict[str, int] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        """The folder that the package keeps converted weights and the demo's corpus in."""
        return self.work / "cache"

    def need(self, part: str) -> Path:
        """Return the folder of a part of the inputs; raise `CaseError` where it was not made."""
        if not (self.inputs / part).is_dir():
            raise CaseError(f"{self.inputs} has no {part}: give --corpora (or $SPEECHXFER_CORPORA) when it is made")
        return self.inputs / part

    def recipe(self, name: str, values: Mapping[str, Any], schema: str = "recipe") -> Path:
        """Write a recipe in this tree's spelling and return its path. JSON is YAML."""
        flat = {renamed(self.keys[schema], key): value for key, value in flatten(values).items()}
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(nest(flat), indent=2) + "\n", encoding="utf-8")
        return path

    def adapt(self, recipe: str | Path, values: Mapping[str, Any], *options: str) -> None:
        """Train into the case's folder `run`."""
        words = [f"{renamed(self.keys['recipe'], key)}={value}" for key, value in values.items()]
        self.speechxfer("adapt", "adapt", recipe, *words, "output=run", *options)

    def use(self, model: str, table: Path, *baseline: Any, audio: Path | None = None, words: bool = False) -> None:
        """Evaluate a model on a table, and transcribe the table's audio.

        audio: a long file that is transcribed in cuts. words: ask for the words' times, of a CTC head.
        """
        quiet = ("--json", self.folder / "evaluate.json", "--quiet")
        self.speechxfer("evaluate", "evaluate", model, table, *baseline, "--output", "evaluate", *quiet)
        for name, source in {"table": table, "long": audio}.items():
            if source is not None:
                target = self.folder / f"{name}.jsonl"
                wanted = ("--output", target, "--json", target.with_suffix(".json"), *(["--words"] if words else []))
                self.speechxfer(f"transcribe-{name}", "transcribe", model, source, *wanted)

    def export(self, form: str, check: Path | None = None, code: int = 0) -> None:
        """Export the run's model in a form, and check it on a table."""
        proof = () if check is None else ("--check", check, "--json", self.folder / f"{form}.json")
        self.speechxfer(form, "export", "run", "--to", form, "--output", form, *proof, code=code)

    def speechxfer(self, name: str, *words: Any, cwd: Path | None = None, code: int = 0) -> None:
        """Run a command of the command line; its output goes to the case's log."""
        self._run(name, ["speechxfer", *words], cwd or self.folder, code)

    def script(self, name: str, file: str, *words: Any) -> None:
        """Run one of the tree's scripts, wherever it lies under `scripts/`."""
        found = sorted((self.tree / "scripts").rglob(file))
        if not found:
            raise CaseError(f"{self.tree}/scripts has no {file}")
        self._run(name, [found[0], *words], self.folder, 0)

    def _run(self, name: str, words: list[Any], cwd: Path, code: int) -> None:
        command = [sys.executable, "-P", str(LAUNCH), str(self.tree), *map(str, words)]
        log = self.folder / "log.txt"
        with log.open("a", encoding="utf-8") as file:
            file.write(f"\n$ {' '.join(map(str, words))}\n")
            file.flush()
            found = subprocess.run(
                command, cwd=cwd, env=environment(self.tree, self.work, self.threads), stdout=file,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
            ).returncode  # fmt: skip
        self.exits[name] = found
        (self.folder / EXITS).write_text(json.dumps(self.exits, indent=2) + "\n", encoding="utf-8")
        if found != code:
            raise CaseError(f"{name} ended with exit code {found}, not {code}: see {log}")


def schema_keys(tree: Path, work: Path) -> dict[str, list[str]]:
    """Return the keys that the tree's two recipe schemas know; raise `CaseError` where they cannot be read."""
    asked = [sys.executable, "-P", str(LAUNCH), str(tree), "--schema"]
    found = subprocess.run(
        asked, env=environment(tree, work, 1), cwd=work, capture_output=True, text=True, check=False
    )  # fmt: skip
    if found.returncode:
        raise CaseError(found.stderr.strip() or f"{tree}: no recipe schema")
    return json.loads(found.stdout.splitlines()[-1])


def spelling(tree: Path, work: Path, keys: str) -> dict[str, dict[str, str]]:
    """Return, by schema, the renamed keys that this tree knows in the new spelling only.

    keys: `old` (none), `new` (all), or `auto`: those whose old spelling the tree's schema does not have.
    """
    stated = json.loads(KEYS.read_text(encoding="utf-8"))
    known = schema_keys(tree, work) if keys == "auto" else {}
    found: dict[str, dict[str, str]] = {}
    for schema in ("recipe", "wakeword"):
        have = set(known.get(schema, ()))
        if keys == "auto" and not have:
            raise CaseError(f"{tree}: its schema of {schema} was not found; say --keys old or --keys new")
        mapped = stated[schema].items() if keys != "old" else ()
        found[schema] = {old: new for old, new in mapped if keys == "new" or old not in have}
        if keys == "auto" and (gone := [f"{old} or {new}" for old, new in found[schema].items() if new not in have]):
            raise CaseError(f"{tree}: its schema of {schema} has neither {', '.join(gone)}: fix {KEYS.name}")
    return found
