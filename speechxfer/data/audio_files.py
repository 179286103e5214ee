"""Collects the utterances of audio files, folders of them, and DATA in any form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import datasets

from speechxfer.data.corpus_folders import find_audio_files
from speechxfer.data.formats import METADATA_FILES, is_saved_dataset
from speechxfer.data.hub import HUB_PREFIX
from speechxfer.data.paths import encode_path, make_printable
from speechxfer.data.reader import WarningCallback, list_duplicate_ids, read, warn_user
from speechxfer.errors import Problems, UserError
from speechxfer.tables import TABLE_SUFFIXES


def collect_audio(
    named: Sequence[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    on_warning: WarningCallback = warn_user,
) -> tuple[list[datasets.Dataset], list[UserError]]:
    """Return the utterances of files, folders and tables in the given order, and an error per name that is missing.

    A table, a parquet file, `hub:owner/name` and a folder in a known format (metadata.csv, wav.scp, a Common Voice
    release, parquet) are read as DATA; any other folder is searched recursively for audio files, sorted by path. The id
    and `audio` of a file are its path as given. Duplicate files are used once.
    columns, on_warning: of `read`.
    Raises: UserError if nothing is found, if DATA cannot be read, or if two utterances have the same id.
    """
    collected: list[datasets.Dataset] = []
    files: list[Path] = []  # consecutive audio files, named or found in folders
    known: set[Path] = set()
    missing: list[UserError] = []

    def add_files() -> None:
        if files:
            names = [make_printable(path.as_posix()) for path in files]
            paths = [encode_path(path.absolute()) for path in files]
            collected.append(datasets.Dataset.from_dict({"id": names, "audio": names, "path": paths}))
            files.clear()

    for name in named:
        if _is_data(name):
            add_files()
            collected.append(read(name, columns=columns, on_warning=on_warning))
            continue
        if not Path(name).exists():
            missing.append(UserError("no such file or folder", where=make_printable(name)))
            continue
        for path in _list_audio_files(Path(name)):
            resolved = path.resolve()
            if resolved not in known:
                known.add(resolved)
                files.append(path)
    add_files()
    if not collected:
        raise missing[0] if missing else UserError("no audio is named", fix="name a file, a folder or a table")
    if len(collected) > 1:
        fix = "transcribe them one at a time, or give the tables a column 'id'"
        problems = Problems("the files and tables together: duplicate ids", fix=fix)
        for name, rows in list_duplicate_ids(chain.from_iterable(dataset["id"] for dataset in collected)).items():
            problems.add(f"'{name}' in rows {', '.join(map(str, rows[:10]))}{', …' if len(rows) > 10 else ''}")
        problems.raise_if_any()
    return collected, missing


def _is_data(name: str | Path) -> bool:
    """Whether the name is DATA (a table or a folder in a known format) rather than audio."""
    path = Path(name)
    if str(name).startswith(HUB_PREFIX):
        return True
    if not path.is_dir():
        return path.suffix.lower() in {*TABLE_SUFFIXES, ".parquet"} and path.exists()
    if _holds(path, *METADATA_FILES, "wav.scp") or is_saved_dataset(path):
        return True
    if any(clips.is_dir() and _is_release(clips.parent) for clips in (path / "clips", *path.glob("*/clips"))):
        return True
    if find_audio_files(path, pattern="*"):
        return False
    return any(True for pattern in ("*/metadata.csv", "*/metadata.jsonl") for _ in path.glob(pattern)) or (
        any(True for _ in path.rglob("*.parquet"))
    )


def _holds(folder: Path, *names: str) -> bool:
    return any((folder / name).is_file() for name in names)


def _is_release(folder: Path) -> bool:
    """Whether the parent of a `clips` folder is a Common Voice release."""
    return _holds(folder, "train.tsv", "dev.tsv", "test.tsv", "validated.tsv")


def _list_audio_files(path: Path) -> list[Path]:
    """Return the file itself, or all audio files of a folder. Raises UserError for a folder without audio."""
    if not path.is_dir():
        return [path]
    files = find_audio_files(path)
    if not files:
        raise UserError(
            "holds no audio file, and no table of them",
            where=make_printable(path),
            fix="name the files or the table themselves",
        )
    return files
