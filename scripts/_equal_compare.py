"""Hold the outputs of one side of `equal_behaviour.py` against the other's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from _equal_side import EXITS, KEYS, CaseError
from _equal_weights import same_graph, same_tensors, sha256

FACTS = "facts.json"
SHOWN = 20  # differences of a file that are kept
Key = tuple[str, ...]
Keys = Mapping[str, Mapping[str, str]]

# files that are not compared, and why
LEFT_OUT = {
    "log.txt": "what the program says, in words",
    "*.html": "the same figures among sentences",
    "*/logs/*": "TensorBoard's events, which hold the clock",
    "*/seconds.json": "the clock",
    "*/optimizer.pt": "a pickle; what it holds shows in the next weights",
    "*/scheduler.pt": "a pickle; what it holds shows in the next weights",
    "*/rng_state.pth": "a pickle; what it holds shows in the next weights",
}
# by kind of JSON: patterns of keys whose values are not compared (that the keys are there is), and why
KEYS_ONLY: dict[str, dict[str, str]] = {
    "report": {
        "speed": "the clock and the memory",
        "speed_before": "the clock and the memory",
        "provenance": "versions, fingerprints, the recipe",
        "stages.*.seconds": "the clock",
        "stages.*.encoding_seconds": "the clock",
        "seconds": "the clock, in the entry of a stage",
        "encoding_seconds": "the clock, in the entry of a stage",
        "parts.*.from": "words: how a part was made",
        "candidates.*.name": "words; their order is compared",
        "files": "sizes; the files themselves are compared",
        "command": "words, of batch_invariance.py",
    },
    "transcription": {"speed": "the clock and the memory", "provenance": "versions, fingerprints, options"},
    "score": {"versions": "of packages"},
    "detector": {
        "made_by": "versions",
        "manifest.made_by": "versions",
        "seconds": "the clock",
        "manifest.seconds": "the clock",
        "mining.heard": "words",
        "mining.stopped": "words",
        "manifest.mining.heard": "words",
        "manifest.mining.stopped": "words",
        "warnings": "words",
    },
}
# lists of sentences: compared by their number only, because texts are rewritten
SENTENCES = {"warnings", "advice", "failures"}


@dataclass(frozen=True)
class File:
    """A file of one side. work: that side's folder as it was when it was run, which some files name."""

    path: Path
    work: str

    @property
    def text(self) -> str:
        """The file's text, without the name of the side's folder."""
        return self.path.read_text(encoding="utf-8", errors="surrogateescape").replace(self.work, "WORK")


def compare(old: Path, new: Path) -> dict[str, Any]:
    """Return, for every case, how many files are equal and what differs; `equal` where nothing does."""
    stated = {side: _facts(side) for side in (old, new)}
    keys = json.loads(KEYS.read_text(encoding="utf-8"))
    unlike = [
        f"{name} differs: {stated[old].get(name)} and {stated[new].get(name)}"
        for name in ("machine", "python", "versions", "threads", "inputs")
        if stated[old].get(name) != stated[new].get(name)
    ]
    names = list(dict.fromkeys([*stated[old]["cases"], *stated[new]["cases"]]))
    cases = {}
    for name in names:
        failed = [f"{side}: {stated[side]['cases'].get(name, {'failed': 'was not run'})['failed']}" for side in stated]
        failed = [text for text in failed if not text.endswith(": None")]
        sides = [File(side / name, stated[side].get("work", str(side.resolve()))) for side in (old, new)]
        cases[name] = {"failed": failed, **_case(name, *sides, keys)}
    for found in cases.values():
        found["is_equal"] = not (found["failed"] or found["different"])
    return {
        "old": stated[old]["commit"],
        "new": stated[new]["commit"],
        "keys": {side: stated[path]["keys"] for side, path in (("old", old), ("new", new))},
        "not_comparable": unlike,
        "equal": not unlike and bool(cases) and all(found["is_equal"] for found in cases.values()),
        "cases": cases,
    }


def _facts(side: Path) -> dict[str, Any]:
    if not (side / FACTS).is_file():
        raise CaseError(f"{side} has no {FACTS}: run that side first")
    return json.loads((side / FACTS).read_text(encoding="utf-8"))


def _case(name: str, old: File, new: File, keys: Keys) -> dict[str, Any]:
    """Compare every file of a case; a file of the old side is found under its new name where `files` has one."""
    found: dict[str, Any] = {"files": 0, "equal": 0, "weights": 0, "left_out": 0, "different": {}, "remarks": {}}
    pairs = {_component(keys["files"], path, "/"): path for path in _files(old.path)}
    there = set(_files(new.path))
    for target in sorted(pairs.keys() | there):
        if any(fnmatch(target, pattern) for pattern in LEFT_OUT):
            found["left_out"] += 1
            continue
        found["files"] += 1
        if target not in pairs or target not in there:
            found["different"][target] = [f"only on the {'new' if target in there else 'old'} side"]
            continue
        both = (File(old.path / pairs[target], old.work), File(new.path / target, new.work))
        differences, remark = _file(name, target, *both, keys)
        if Path(target).suffix in _WEIGHTS:
            found["weights"] += 1
        if remark:
            found["remarks"][target] = remark
        if differences:
            found["different"][target] = differences[:SHOWN]
        else:
            found["equal"] += 1
    return found


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _component(names: Mapping[str, str], text: str, mark: str) -> str:
    """Return `text` with each name of the map replaced where it stands as whole components, parted by `mark`."""
    for old, new in names.items():
        text = re.sub(rf"(?<![^{mark}]){re.escape(old)}(?![^{mark}])", lambda _, new=new: new, text)
    return text


def _file(case: str, name: str, old: File, new: File, keys: Keys) -> tuple[list[str], str]:
    """Return what differs between two files, and a remark where they are equal in another way than by their bytes."""
    if sha256(old.path) == sha256(new.path):
        return [], ""
    suffix = Path(name).suffix
    if suffix in _WEIGHTS:
        differences = _WEIGHTS[suffix](old.path, new.path, lambda tensor: _component(keys["tensors"], tensor, "."))
        return differences, "" if differences else "other bytes, the same tensors"
    if suffix == ".yaml":
        pair = [yaml.safe_load(file.text) for file in (old, new)]
        schema = "wakeword" if case == "wakeword" else "recipe"
        return list(_unlike(*pair, _renaming(keys[schema], ""), [], keys["values"])), ""
    if suffix == ".jsonl":
        lines = [[json.loads(line) for line in file.text.split("\n") if line] for file in (old, new)]
        return list(_unlike(*lines, _renaming(keys["transcript"], "*."), [], keys["values"])), ""
    if suffix == ".json":
        return list(_json(_kind(case, name), old, new, keys)), ""
    return [] if old.text == new.text else ["other text"], ""


def _kind(case: str, name: str) -> str:
    """Return the kind of a JSON file: a section of `renamed_keys.json`."""
    file, folder = Path(name).name, Path(name).parent.name
    if case == "score" and file != EXITS:
        return "score"
    if case == "wakeword":
        return "detector"
    if folder in ("model", "transformers", "ctranslate2", "onnx"):
        return "model"
    return "transcription" if file in ("table.json", "long.json") else "report"


def _json(kind: str, old: File, new: File, keys: Keys) -> Iterator[str]:
    pair = [json.loads(file.text) for file in (old, new)]
    renaming = _renaming(keys[kind], "")
    for at in ("provenance.recipe.",) if kind == "report" else ():
        renaming += _renaming(keys["recipe"], at)
    if kind == "report":  # checkpoints/sources.json has recipe keys as its own
        renaming += [((old_key,), (new_key,)) for old_key, new_key in keys["recipe"].items()]
    for at in ("settings.", "manifest.settings.") if kind == "detector" else ():
        renaming += _renaming(keys["wakeword"], at)
    if kind == "report":
        chosen = {"kept", keys["report"].get("kept", "kept")}
        pair = [_by_place(report, chosen) for report in pair]
    return _unlike(*pair, renaming, list(KEYS_ONLY.get(kind, ())), keys["values"])


def _by_place(report: Any, chosen: set[str]) -> Any:
    """Return a run's report with the kept candidate, which is named in words, replaced by its place among them all.

    chosen: the spellings of the key that names it.
    """
    if not isinstance(report, dict) or "candidates" not in report:
        return report
    names = [candidate["name"] for candidate in report["candidates"]]
    places = {key: names.index(report[key]) for key in chosen & report.keys() if report[key] in names}
    return report | places


def _renaming(names: Mapping[str, str], at: str) -> list[tuple[Key, Key]]:
    """Return the map's keys as patterns below `at`, the longest first; an item's number, `N` in the map, is `*`."""
    made = [tuple(tuple(f"{at}{name}".replace(".N.", ".*.").split(".")) for name in pair) for pair in names.items()]
    return sorted(((old, new) for old, new in made), key=lambda pair: -len(pair[0]))


def _unlike(
    old: Any, new: Any, renaming: list[tuple[Key, Key]], keys_only: list[str], values: Mapping[str, str]
) -> Iterator[str]:
    """Yield what differs between two JSON values, the old one's keys renamed where the new one has the new name."""
    right = dict(_leaves(new, ()))
    left: dict[Key, tuple[Key, Any]] = {}
    for key, value in _leaves(old, ()):
        name = _renamed(key, renaming)
        left[key if key in right and name not in right else name] = (key, value)
    patterns = [tuple(pattern.split(".")) for pattern in keys_only]
    for key in sorted(left.keys() | right.keys()):
        name = ".".join(key)
        if key not in left or key not in right:
            yield f"{name}: only on the {'new' if key in right else 'old'} side"
        elif not any(_under(spelt, pattern) for spelt in (key, left[key][0]) for pattern in patterns):
            mine, other = left[key][1], right[key]
            alike = mine == other and type(mine) is type(other)
            if not alike and not (isinstance(mine, str) and values.get(mine) == other):
                yield f"{name}: {mine!r} and {other!r}"


def _leaves(value: Any, key: Key) -> Iterable[tuple[Key, Any]]:
    """Yield every leaf with its key; a leaf is an empty list or mapping too, and how many sentences a list has."""
    if isinstance(value, list) and key and key[-1] in SENTENCES:
        yield key, f"{len(value)} of them"
    elif isinstance(value, (dict, list)) and value:
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(one, (*key, str(name)))
    else:
        yield key, value


def _renamed(key: Key, renaming: list[tuple[Key, Key]]) -> Key:
    for old, new in renaming:
        if _under(key, old):
            stars = iter(part for part, pattern in zip(key, old, strict=False) if pattern == "*")
            return (*(next(stars) if part == "*" else part for part in new), *key[len(old) :])
    return key


def _under(key: Key, pattern: Key) -> bool:
    """Whether a key is the pattern's, or below it."""
    return len(key) >= len(pattern) and all(p in ("*", k) for k, p in zip(key, pattern, strict=False))


_WEIGHTS: dict[str, Callable[..., list[str]]] = {
    ".safetensors": same_tensors,
    ".onnx": same_graph,
    ".bin": lambda *_: ["other bytes"],  # CTranslate2's
}


def table(result: Mapping[str, Any]) -> str:
    """Return the comparison as text: a line a case, then what differs."""
    head = ("case", "files", "weights", "equal", "different", "left out")
    rows = [head]
    lines = [f"old  {result['old']}", f"new  {result['new']}", *result["not_comparable"], ""]
    for name, found in result["cases"].items():
        counts = (found["files"], found["weights"], found["equal"], len(found["different"]), found["left_out"])
        rows.append((name, *map(str, counts)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        lines.append("  ".join(f"{cell:{'<' if k == 0 else '>'}{widths[k]}}" for k, cell in enumerate(row)))
    for name, found in result["cases"].items():
        lines += [f"\n{name}: FAILED, {text}" for text in found["failed"]]
        lines += [f"{name}/{file}: {text}" for file, text in found["remarks"].items()]
        for file, differences in found["different"].items():
            lines += [f"\n{name}/{file}", *(f"    {text}" for text in differences)]
    return "\n".join([*lines, "", "EQUAL" if result["equal"] else "DIFFERENT"])
