"""Train, dev and test splits of DATA: given, named by a column, or drawn so that no speaker is in two of them."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import datasets

from speechxfer.config import DataTable
from speechxfer.data.collection import describe_tables, read_tables
from speechxfer.data.reader import read
from speechxfer.errors import UserError, suggest_nearest
from speechxfer.tables import find_role

_DEFAULT_GROUP = "speaker"  # used if the table has it; any other group column was named by the user and must exist
_SPLIT_NAMES = {
    "train": {"train", "training"},
    "dev": {"dev", "valid", "val", "validation", "eval", "development"},
    "test": {"test", "testing"},
}
_SHARE = {"dev": 0.1, "test": 0.2}  # of the groups
RowIndices = list[int]


@dataclass
class Splits:
    """The three splits; they share no row. split_info: origin of each, for the report; warnings: for the user."""

    train: datasets.Dataset
    dev: datasets.Dataset
    test: datasets.Dataset
    warnings: list[str] = field(default_factory=list)
    split_info: dict[str, dict[str, Any]] = field(default_factory=dict)


def make_splits(
    train: str | Sequence[DataTable],
    dev: str = "auto",
    test: str = "auto",
    *,
    columns: Mapping[str, str] | None = None,
    group: str = "speaker",
    split: Literal["auto", "ignore"] = "auto",
    seed: int = 0,
    need: Collection[str] = (),
) -> Splits:
    """Make the splits that a recipe's `data` section describes.

    Args:
        train: DATA, or several tables.
        dev, test: DATA, or `COLUMN=VALUE[,VALUE]` of train, or auto: the rows that the `split` column assigns (unless
            `split` is "ignore"), or else whole values of `group`, drawn with `seed` (20 % of them for test, 10 % for
            dev, at least one each).
        columns: kind of column to its name in DATA.
        need: required columns.

    Raises:
        UserError: if train cannot be read, if a named column or value does not exist, or if a split is empty.
    """
    messages: list[str] = []
    reading: dict[str, Any] = {"need": need, "columns": columns, "on_warning": messages.append}
    whole, train_name = read_tables(train, **reading), describe_tables(train)
    if group not in whole.column_names and group != _DEFAULT_GROUP:
        raise UserError(_missing_column(train_name, group, whole), where=f"data.group={group}")
    asked = {"dev": dev, "test": test}
    other_data = {name: read(_check_exists(how, name), **reading) for name, how in asked.items() if _is_data(how)}
    assignment = _Assignment(whole, {name: f"DATA {asked[name]}" for name in other_data})
    assignment.assign_named({name: how for name, how in asked.items() if name not in other_data}, train_name)
    assignment.assign_auto([name for name in ("test", "dev") if name not in other_data], group, split, seed)
    chosen = {
        name: other_data[name] if name in other_data else whole.select(sorted(assignment.rows[name])) for name in asked
    }
    if other_data:
        assignment.free = _drop_held_out(whole, assignment.free, chosen, assignment.warnings)
    free = assignment.free
    result = Splits(whole.select(sorted(free)), chosen["dev"], chosen["test"], messages + assignment.warnings)
    origin = f"DATA {train_name}, the rows of no other part" if len(free) < len(whole) else f"DATA {train_name}"
    _describe(result, assignment.origins | {"train": origin}, group)
    return result


def normalise_split_name(split: Any) -> str | None:
    """Return the split that a value of column `split` names: train, dev or test; None for any other value."""
    value = "" if split is None else str(split).strip().lower()
    return next((name for name, aliases in _SPLIT_NAMES.items() if value in aliases), None)


class _Assignment:
    """Rows of a table assigned to splits. rows: by split; origins: how each was made; free: the rows left for train."""

    def __init__(self, whole: datasets.Dataset, origins: dict[str, str]) -> None:
        self.whole, self.origins = whole, origins
        self.rows: dict[str, RowIndices] = {}
        self.free: RowIndices = list(range(len(whole)))
        self.warnings: list[str] = []

    def assign(self, name: str, rows: RowIndices, origin: str) -> None:
        self.rows[name], self.origins[name] = rows, origin
        taken = set(rows)
        self.free = [row for row in self.free if row not in taken]

    def assign_named(self, asked: dict[str, str], train: str) -> None:
        """Assign the rows of splits given as `COLUMN=VALUE[,VALUE]`. Raises UserError if two take the same rows."""
        for name, how in asked.items():
            if how != "auto":
                self.assign(name, _select_rows(self.whole, how, train, f"data.{name}"), how)
        if set(self.rows.get("dev", [])) & set(self.rows.get("test", [])):
            problem = f"'{asked['dev']}' and '{asked['test']}' take the same rows"
            raise UserError(problem, where="data.dev and data.test")

    def assign_auto(self, names: list[str], group: str, split: Literal["auto", "ignore"], seed: int) -> None:
        """Assign the rows of the splits that have none: by the `split` column, then by drawing."""
        auto = [name for name in names if name not in self.rows]
        if auto and split == "auto" and "split" in self.whole.column_names:
            self.assign_by_column(auto)
        left = [name for name in auto if name not in self.rows]
        if left:
            self.draw(left, group, seed)

    def assign_by_column(self, names: list[str]) -> None:
        """Assign the rows that the `split` column gives to `names`; free keeps the train rows and those without one."""
        values = ["" if value is None else str(value).strip() for value in self.whole["split"]]
        named = [normalise_split_name(value) for value in values]
        for name in names:
            found = [row for row in self.free if named[row] == name]
            if found:
                self.rows[name], self.origins[name] = found, "the rows whose split says so"
        if not any(name in self.rows for name in names) and not any(named[row] == "train" for row in self.free):
            self.warnings.append("the column 'split' holds neither train, dev nor test: it was ignored")
            return
        unknown = [row for row in self.free if values[row] and named[row] is None]
        if unknown:
            examples = ", ".join(sorted({values[row] for row in unknown})[:5])
            self.warnings.append(
                f"{len(unknown)} rows are in no split: their split is {examples}, not train, dev or test"
            )
        self.free = [row for row in self.free if named[row] == "train" or not values[row]]

    def draw(self, names: list[str], group: str, seed: int) -> None:
        """Draw the rows of `names`: whole values of `group`, or utterances where that is not possible."""
        keys, groups, unit = self._choose_groups(names, group)
        if not groups:
            raise UserError("no row is left for training", where="data.train", fix="check its column 'split'")
        if len(groups) <= len(names):
            raise UserError(
                f"{len(groups)} {unit} are too few for {len(names) + 1} splits",
                where="data.train",
                fix=f"add some, or set {' and '.join(f'data.{name}' for name in sorted(names))}",
            )
        total = len(groups)
        random.Random(seed).shuffle(groups)
        for name in names:
            count = max(1, round(_SHARE[name] * total))
            taken, groups = set(groups[:count]), groups[count:]
            rows = [row for row in self.free if keys[row] in taken]
            self.assign(name, rows, f"carved: {count} of {total} {unit}, seed {seed}")

    def _choose_groups(self, names: list[str], group: str) -> tuple[list[str], list[str], str]:
        """Return each row's key, the keys to draw from (sorted), and what they are."""
        ids = list(self.whole["id"])
        by_utterance = ids, sorted(ids[row] for row in self.free), "utterances"
        if group not in self.whole.column_names:
            self.warnings.append(
                f"there is no column '{group}': the splits were drawn by utterance, so speakers may leak between them"
            )
            return by_utterance
        keys = [str(value) for value in self.whole[group]]
        groups = sorted({keys[row] for row in self.free} - {""})
        if len(groups) <= len(names):
            self.warnings.append(
                f"{len(groups)} values of '{group}' are too few for {len(names) + 1} splits: "
                "they were drawn by utterance, so speakers leak between them"
            )
            return by_utterance
        empty = sum(not keys[row] for row in self.free)
        if empty:
            self.warnings.append(f"{empty} rows have no {group}: they stay in train, so their speakers may leak")
        return keys, groups, f"values of {group}"


def _is_data(how: str) -> bool:
    return how != "auto" and (how.startswith("hub:") or "=" not in how or Path(how).exists())


def _check_exists(how: str, name: str) -> str:
    """Return `how`, which is neither auto nor COLUMN=VALUE. Raises UserError naming the key if it does not exist."""
    if how.startswith("hub:") or Path(how).expanduser().exists():
        return how
    fix = "name a table, a folder or hub:owner/name, or rows of data.train as COLUMN=VALUE, or set it to auto"
    if _is_number(how):
        fix = f"splits take whole speakers: auto takes {_SHARE[name]:.0%} of those in data.train; otherwise {fix}"
    raise UserError("no such file or folder", where=f"data.{name}={how}", fix=fix)


def _is_number(how: str) -> bool:
    try:
        float(how.rstrip("%"))
    except ValueError:
        return False
    return True


def _missing_column(train: str, column: str, whole: datasets.Dataset) -> str:
    canonical = find_role(column)
    read_as = (
        f" (it is read as '{canonical}')"
        if canonical in whole.column_names
        else suggest_nearest(column, whole.column_names)
    )
    return f"{train} has no column '{column}'{read_as}; its columns are {', '.join(whole.column_names)}"


def _select_rows(whole: datasets.Dataset, how: str, train: str, where: str) -> RowIndices:
    """Return the rows of `COLUMN=VALUE[,VALUE]`."""
    column, _, wanted = how.partition("=")
    if column not in whole.column_names:
        raise UserError(_missing_column(train, column, whole), where=f"{where}={how}")
    values = [str(value) for value in whole[column]]
    for value in wanted.split(","):
        if value not in values:
            known = ", ".join(sorted(set(values))[:10])
            hint = suggest_nearest(value, set(values))
            problem = f"no row of {train} has {column} '{value}'{hint}; there are {known}"
            raise UserError(problem, where=f"{where}={how}")
    return [row for row, value in enumerate(values) if value in set(wanted.split(","))]


def _drop_held_out(
    whole: datasets.Dataset, free: RowIndices, chosen: dict[str, datasets.Dataset], warnings: list[str]
) -> RowIndices:
    """Return the rows of train that are not in a dev or test table. Raises UserError if dev and test share a row."""
    held = {name: set(_list_utterance_keys(dataset)) for name, dataset in chosen.items()}
    if held["dev"] & held["test"]:
        problem = f"share {len(held['dev'] & held['test'])} utterances"
        raise UserError(problem, where="data.dev and data.test", fix="give each its own rows")
    keys = _list_utterance_keys(whole)
    kept = [row for row in free if not any(keys[row] in held_out for held_out in held.values())]
    if len(kept) < len(free):
        warnings.append(f"{len(free) - len(kept)} rows of data.train are also in dev or test: they are not trained on")
    return kept


def _list_utterance_keys(dataset: datasets.Dataset) -> list[tuple[Any, ...]]:
    """Return what identifies each row's utterance: the file (or the id of embedded audio) and the span."""
    columns = [dataset[name] if name in dataset.column_names else [None] * len(dataset) for name in ("start", "end")]
    files = [path or name for path, name in zip(dataset["path"], dataset["id"], strict=True)]
    return list(zip(files, *columns, strict=True))


def _describe(result: Splits, origins: dict[str, str], group: str) -> None:
    """Fill `split_info`, warn of shared values of `group`. Raises UserError for an empty split."""
    values: dict[str, set[str]] = {}
    for name, dataset in {"train": result.train, "dev": result.dev, "test": result.test}.items():
        if not len(dataset):
            fix = "another split takes all rows: name other DATA for it, or set it to auto" if name == "train" else None
            raise UserError(f"the {name} split has no rows ({origins[name]})", where="data", fix=fix)
        result.split_info[name] = {"from": origins[name], "utterances": len(dataset)}
        if group in dataset.column_names:
            values[name] = {str(value) for value in dataset[group]} - {""}
            result.split_info[name][f"values of {group}"] = len(values[name])
    for one, other in (("train", "test"), ("train", "dev"), ("dev", "test")):
        shared = sorted(values.get(one, set()) & values.get(other, set()))
        if shared:
            examples = ", ".join(shared[:5]) + (", …" if len(shared) > 5 else "")
            result.warnings.append(
                f"{one} and {other} share '{group}' {examples} ({len(shared)} in all): results on new ones may be worse"
            )
    if group not in result.train.column_names and not any("no column" in warning for warning in result.warnings):
        result.warnings.append(f"there is no column '{group}': speakers may leak between the splits")
