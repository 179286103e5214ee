"""Releases of Common Voice: a language folder with clips/ and one TSV per split."""

from __future__ import annotations

from pathlib import Path

from speechxfer.data.tables import Columns, concat_tables, read_columns
from speechxfer.errors import UserError

_REQUIRED = ("client_id", "path", "sentence")


def is_common_voice_table(path: Path) -> bool:
    """Whether a table is a TSV of a release, with clips/ next to it."""
    if path.suffix.lower() != ".tsv" or not (path.parent / "clips").is_dir():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        names = file.readline().rstrip("\r\n").split("\t")
    return set(_REQUIRED) <= set(names) and "audio" not in names


def find_common_voice_release(folder: Path, where: str) -> Path | None:
    """Return the language folder of a release: `folder` itself, or the only one below it."""
    if (folder / "clips").is_dir():
        return folder
    found = sorted(path.parent for path in folder.glob("*/clips") if path.is_dir())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"holds several languages: {names}", where=where, fix=f"give one of them, e.g. {found[0]}")
    return found[0] if found else None


def read_common_voice(folder: Path) -> Columns:
    """Read train, dev and test of a release, which share no speaker, or validated.tsv if they are missing."""
    paths = {name: folder / f"{name}.tsv" for name in ("train", "dev", "test") if (folder / f"{name}.tsv").is_file()}
    if not paths:
        if not (folder / "validated.tsv").is_file():
            problem = "has clips, but neither train.tsv, dev.tsv, test.tsv nor validated.tsv"
            raise UserError(problem, where=str(folder), fix="unpack the release again")
        return read_common_voice_table(folder / "validated.tsv")
    tables = []
    for name, path in paths.items():
        columns = read_common_voice_table(path)
        columns["split"] = [name] * len(columns["path"])
        tables.append(columns)
    return concat_tables(tables)


def read_common_voice_table(path: Path) -> Columns:
    """Read a release's TSV, in which quotation marks are text."""
    columns = read_columns(path, quoted=False)
    for name in _REQUIRED:
        if name not in columns:
            raise UserError(f"has no column '{name}', which Common Voice tables have", where=str(path))
    return columns
