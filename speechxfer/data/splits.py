"""Train, dev and test parts of DATA: given, named by a column, or carved so that no speaker stands on both sides."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import datasets

from speechxfer.data.formats import normalise_column_name
from speechxfer.data.reader import read
from speechxfer.errors import UserError, suggest_nearest

_GROUP = "speaker"  # by which parts are carved where the table has it; another column was asked for, and must be there
_KNOWN = {
    "train": {"train", "training"},
    "dev": {"dev", "valid", "val", "validation", "eval", "development"},
    "test": {"test", "testing"},
}
_SHARE = {"dev": 0.1, "test": 0.2}  # of the groups
RowIndices = list[int]


@dataclass
class Splits:
    """The three parts; no row stands in two. stated: how each was made, for the report; warnings: for the user."""

    train: datasets.Dataset
    dev: datasets.Dataset
    test: datasets.Dataset
    warnings: list[str] = field(default_factory=list)
    split_info: dict[str, dict[str, Any]] = field(default_factory=dict)


def make_splits(
    train: str,
    dev: str = "auto",
    test: str = "auto",
    *,
    group: str = "speaker",
    split: Literal["auto", "ignore"] = "auto",
    seed: int = 0,
    need: Collection[str] = (),
) -> Splits:
    """The parts that a recipe's `data` section means.

    dev, test: DATA; `COLUMN=VALUE[,VALUE]` of train; or auto: the rows that the `split` column gives (unless `split` is
    "ignore"), else carved by whole values of `group` (a fifth of them test, a tenth dev, at least one each), by `seed`.
    Raises UserError where train cannot be read, a named column or value is not there, or a part has no rows.
    """
    whole = read(train, need=need)
    if group not in whole.column_names and group != _GROUP:
        raise UserError(_no_column(train, group, whole), where=f"data.group={group}")
    asked = {"dev": dev, "test": test}
    others = {name: read(_there(how, name), need=need) for name, how in asked.items() if _is_data(how)}
    rows: dict[str, RowIndices] = {}
    made: dict[str, str] = {name: f"DATA {asked[name]}" for name in others}
    warnings: list[str] = []
    free = list(range(len(whole)))
    for name, how in asked.items():
        if name not in others and how != "auto":
            rows[name], made[name] = _rows_where(whole, how, train, f"data.{name}"), how
            free = _without(free, rows[name])
    if "dev" in rows and "test" in rows and set(rows["dev"]) & set(rows["test"]):
        raise UserError(f"'{dev}' and '{test}' take the same rows", where="data.dev and data.test")

    auto = [name for name in ("test", "dev") if name not in others and name not in rows]
    if auto and split == "auto" and "split" in whole.column_names:
        free = _by_split_column(whole, free, auto, rows, made, warnings)
    left = [name for name in auto if name not in rows]
    if left:
        free = _carve(whole, free, left, group, seed, rows, made, warnings)

    chosen = {name: others[name] if name in others else whole.select(sorted(rows[name])) for name in asked}
    free = _leave_out_held(whole, free, chosen, others, warnings)
    result = Splits(whole.select(sorted(free)), chosen["dev"], chosen["test"], warnings)
    made["train"] = f"DATA {train}, the rows of no other part" if len(free) < len(whole) else f"DATA {train}"
    _state(result, made, group)
    return result


def _is_data(how: str) -> bool:
    return how != "auto" and (how.startswith("hub:") or "=" not in how or Path(how).exists())


def _there(how: str, name: str) -> str:
    """`how`, which is neither auto nor COLUMN=VALUE. Raises UserError, by its key, where there is no such thing."""
    if how.startswith("hub:") or Path(how).expanduser().exists():
        return how
    fix = "name a table, a folder or hub:owner/name, rows of data.train as COLUMN=VALUE, or say auto"
    if _is_number(how):
        fix = f"parts are of whole speakers: auto takes {_SHARE[name]:.0%} of those in data.train; else {fix}"
    raise UserError("no such file or folder", where=f"data.{name}={how}", fix=fix)


def _is_number(how: str) -> bool:
    try:
        float(how.rstrip("%"))
    except ValueError:
        return False
    return True


def _no_column(train: str, column: str, whole: datasets.Dataset) -> str:
    ours = normalise_column_name(column)
    read_as = (
        f" (it is read as '{ours}')" if ours in whole.column_names else suggest_nearest(column, whole.column_names)
    )
    return f"{train} has no column '{column}'{read_as}; its columns are {', '.join(whole.column_names)}"


def _rows_where(whole: datasets.Dataset, how: str, train: str, where: str) -> RowIndices:
    """Rows of `COLUMN=VALUE[,VALUE]`."""
    column, _, wanted = how.partition("=")
    if column not in whole.column_names:
        raise UserError(_no_column(train, column, whole), where=f"{where}={how}")
    values = [str(value) for value in whole[column]]
    for value in wanted.split(","):
        if value not in values:
            some = ", ".join(sorted(set(values))[:10])
            problem = f"no row of {train} has {column} '{value}'{suggest_nearest(value, set(values))}; there are {some}"
            raise UserError(problem, where=f"{where}={how}")
    return [row for row, value in enumerate(values) if value in set(wanted.split(","))]


def normalise_split_name(split: Any) -> str | None:
    """The part that a value of column `split` names: train, dev or test, None for nothing and for any other value."""
    value = "" if split is None else str(split).strip().lower()
    return next((part for part, names in _KNOWN.items() if value in names), None)


def _by_split_column(
    whole: datasets.Dataset,
    free: RowIndices,
    auto: list[str],
    rows: dict[str, RowIndices],
    made: dict[str, str],
    warnings: list[str],
) -> RowIndices:
    """Fill `rows` from the `split` column; return what is free for training, and for carving what it does not give."""
    values = ["" if value is None else str(value).strip() for value in whole["split"]]
    named = [normalise_split_name(value) for value in values]
    for name in auto:
        found = [row for row in free if named[row] == name]
        if found:
            rows[name], made[name] = found, "the rows whose split says so"
    if not any(name in rows for name in auto) and not any(named[row] == "train" for row in free):
        warnings.append("the column 'split' holds neither train, dev nor test: it was not looked at")
        return free
    kept = [row for row in free if named[row] == "train" or not values[row]]
    lost = [row for row in free if values[row] and named[row] is None]
    if lost:
        names = ", ".join(sorted({values[row] for row in lost})[:5])
        warnings.append(f"{len(lost)} rows are in no part: their split is {names}, not train, dev or test")
    return kept


def _carve(
    whole: datasets.Dataset,
    free: RowIndices,
    names: list[str],
    group: str,
    seed: int,
    rows: dict[str, RowIndices],
    made: dict[str, str],
    warnings: list[str],
) -> RowIndices:
    """Fill `rows[name]` for `names` by whole values of `group`, else by utterances; return the rest."""
    keys = [str(value) for value in whole[group]] if group in whole.column_names else None
    groups = sorted({keys[row] for row in free} - {""}) if keys else []
    ids = list(whole["id"])
    unit = f"values of {group}"
    if keys is None:
        warnings.append(
            f"there is no column '{group}': parts were carved by utterance, so speakers may leak between them"
        )
    elif len(groups) <= len(names):
        warnings.append(
            f"{len(groups)} values of '{group}' are too few for {len(names) + 1} parts: "
            "they were carved by utterance, so speakers leak between them"
        )
        keys = None
    elif any(not keys[row] for row in free):
        empty = sum(not keys[row] for row in free)
        warnings.append(f"{empty} rows have no {group}: they stay in train, so their speakers may leak")
    if keys is None:
        groups = sorted(ids[row] for row in free)
        keys, unit = ids, "utterances"
    if not groups:
        raise UserError("no row is left for training", where="data.train", fix="look at its column 'split'")
    if len(groups) <= len(names):
        raise UserError(
            f"{len(groups)} {unit} are too few for {len(names) + 1} parts",
            where="data.train",
            fix=f"add some, or name {' and '.join(f'data.{name}' for name in sorted(names))} yourself",
        )
    total = len(groups)
    random.Random(seed).shuffle(groups)
    for name in names:
        count = max(1, round(_SHARE[name] * total))
        taken, groups = set(groups[:count]), groups[count:]
        rows[name] = [row for row in free if keys[row] in taken]
        free = _without(free, rows[name])
        made[name] = f"carved: {count} of {total} {unit}, seed {seed}"
    return free


def _leave_out_held(
    whole: datasets.Dataset,
    free: RowIndices,
    chosen: dict[str, datasets.Dataset],
    others: dict[str, datasets.Dataset],
    warnings: list[str],
) -> RowIndices:
    """Rows of train without those that a dev or test table holds too. dev and test sharing a row is an error."""
    if not others:
        return free
    held = {name: set(_content(part)) for name, part in chosen.items()}
    if held["dev"] & held["test"]:
        problem = f"share {len(held['dev'] & held['test'])} utterances"
        raise UserError(problem, where="data.dev and data.test", fix="give each its own rows")
    keys = _content(whole)
    kept = [row for row in free if not any(keys[row] in part for part in held.values())]
    if len(kept) < len(free):
        warnings.append(f"{len(free) - len(kept)} rows of data.train stand in dev or test too: they are not trained on")
    return kept


def _content(part: datasets.Dataset) -> list[tuple[Any, ...]]:
    """What makes two rows the same utterance: the file (or the id of embedded audio) and the cut."""
    columns = [part[name] if name in part.column_names else [None] * len(part) for name in ("start", "end")]
    files = [path or name for path, name in zip(part["path"], part["id"], strict=True)]
    return list(zip(files, *columns, strict=True))


def _state(result: Splits, made: dict[str, str], group: str) -> None:
    every = {"train": result.train, "dev": result.dev, "test": result.test}
    values: dict[str, set[str]] = {}
    for name, part in every.items():
        if not len(part):
            fix = "another part takes them all: name other DATA for it, or say auto" if name == "train" else None
            raise UserError(f"the {name} part has no rows ({made[name]})", where="data", fix=fix)
        result.split_info[name] = {"from": made[name], "utterances": len(part)}
        if group in part.column_names:
            values[name] = {str(value) for value in part[group]} - {""}
            result.split_info[name][f"values of {group}"] = len(values[name])
    for one, other in (("train", "test"), ("train", "dev"), ("dev", "test")):
        shared = sorted(values.get(one, set()) & values.get(other, set()))
        if shared:
            some = ", ".join(shared[:5]) + (", …" if len(shared) > 5 else "")
            result.warnings.append(
                f"{one} and {other} share '{group}' {some} ({len(shared)} in all): the WER of new ones may be worse"
            )
    if group not in result.train.column_names and not any("no column" in warning for warning in result.warnings):
        result.warnings.append(f"there is no column '{group}': speakers may leak between the parts")


def _without(rows: RowIndices, taken: RowIndices) -> RowIndices:
    gone = set(taken)
    return [row for row in rows if row not in gone]
