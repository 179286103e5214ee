"""Detects the format of DATA: a table, a folder in one of many layouts, a saved data set, parquet or a hub name.

| format | how it is recognised |
|---|---|
| table | .csv, .tsv, .jsonl, .ndjson, .json, .manifest (NeMo); comma, tab, semicolon or vertical bar |
| LJSpeech, FLEURS | their tables, which have no header |
| subtitles | .srt, .vtt next to an audio file of the same name |
| folder with metadata | metadata.csv, .tsv or .jsonl, in it or in its subfolders (one per split) |
| Kaldi | wav.scp |
| Common Voice | clips/ and train.tsv, dev.tsv, test.tsv |
| datasets | a folder written by `save_to_disk`; parquet files |
| LibriSpeech, TIMIT | *.trans.txt; .PHN files |
| audio with text | audio files with .txt, .lab, .srt or .vtt files of the same name |
| folder per class | audio files in folders named by their label, also in folders of splits |
| of an installed package | by its reader (`READERS`), if it is none of these |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from speechxfer.data.common_voice import (
    find_common_voice_release,
    is_common_voice_table,
    read_common_voice,
    read_common_voice_table,
)
from speechxfer.data.corpus_folders import read_corpus_folder, read_headerless_table, read_subtitle_file
from speechxfer.data.hub import HUB_PREFIX, download_dataset
from speechxfer.data.kaldi import read_kaldi_dir
from speechxfer.data.subtitles import SUBTITLE_SUFFIXES
from speechxfer.data.tables import Columns, concat_tables, read_columns
from speechxfer.errors import UserError
from speechxfer.registry import Registry
from speechxfer.tables import TABLE_SUFFIXES, map_columns

METADATA_FILES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
SAVED_DATASET_FILES = ("dataset_info.json", "dataset_dict.json")  # written by datasets' save_to_disk


class Reader(Protocol):
    """Reads a file or a folder in a layout that is not built in; a package's entry point is an object of this kind."""

    def recognises(self, path: Path) -> bool:
        """Return whether this is a file or folder of the layout."""
        ...

    def read(self, path: Path) -> tuple[Path, Columns]:
        """Return the folder that the values of `audio` are relative to, and the columns by name, lists of strings."""
        ...


READERS: Registry[Reader] = Registry("speechxfer.readers", "reader")


@dataclass
class DataSource:
    """A detected source: columns of strings, parquet files by split, or a folder that `save_to_disk` wrote.

    folder: base of the paths in `audio`.
    """

    folder: Path
    columns: Columns = field(default_factory=dict)
    parquet: dict[str, list[Path]] = field(default_factory=dict)
    saved: Path | None = None


def detect_format(source: str | Path) -> DataSource:
    """Detect the format of DATA and read its tables. Raises UserError for an unsupported format."""
    if str(source).startswith(HUB_PREFIX):
        return _detect_folder(download_dataset(str(source)), str(source))
    path = Path(source).expanduser()  # shells do not expand the ~ of KEY=~/VALUE
    if path.is_dir():
        return _detect_folder(path, str(source))
    if not path.exists():
        raise UserError(
            "no such file or folder",
            where=str(source),
            fix="name a table, a folder or hub:owner/name",
        )
    return _detect_file(path, str(source))


def _detect_file(path: Path, where: str) -> DataSource:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return DataSource(path.parent, parquet={"": [path]})
    if suffix in SUBTITLE_SUFFIXES:
        return DataSource(path.parent, read_subtitle_file(path))
    if suffix not in TABLE_SUFFIXES:
        if (found := _read_by_package(path)) is not None:
            return found
        raise UserError(
            f"is not DATA ('{path.suffix or path.name}' is not a table)",
            where=where,
            fix=f"give a table ({', '.join(TABLE_SUFFIXES)}, .parquet) or a folder of data",
        )
    if is_common_voice_table(path):
        return DataSource(path.parent / "clips", read_common_voice_table(path))
    if suffix in (".csv", ".tsv") and (columns := read_headerless_table(path)) is not None:
        return DataSource(path.parent, columns)
    return DataSource(path.parent, read_columns(path))


def _detect_folder(folder: Path, where: str) -> DataSource:
    for name in METADATA_FILES:
        if (folder / name).is_file():
            return _detect_file(folder / name, where)
    if (folder / "wav.scp").is_file():
        return DataSource(*read_kaldi_dir(folder))
    release = find_common_voice_release(folder, where)
    if release:
        return DataSource(release / "clips", read_common_voice(release))
    if is_saved_dataset(folder):
        return DataSource(folder, saved=folder)
    parquet = sorted(folder.rglob("*.parquet"))
    if parquet:
        return DataSource(folder, parquet=_group_by_split(folder, parquet))
    metadata = [path for name in METADATA_FILES for path in sorted(folder.glob(f"*/{name}"))]
    if metadata:
        return DataSource(folder, _read_split_metadata(metadata, folder))
    columns = read_corpus_folder(folder)
    if columns is not None:
        return DataSource(folder, columns)
    if (found := _read_by_package(folder)) is not None:
        return found
    tables = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in TABLE_SUFFIXES)
    fix = f"give the table itself, e.g. {folder / tables[0]}" if tables else "give a table of your audio files"
    raise UserError(
        "no data set found in this folder: it has no metadata.csv, wav.scp, clips folder, parquet or *.trans.txt, "
        "no audio files with text files of the same names, and no folders of audio, one per class",
        where=where,
        fix=fix,
    )


def _read_by_package(path: Path) -> DataSource | None:
    """Read a file or folder by the first reader of an installed package that recognises it."""
    readers = map(READERS.get, READERS.names)
    reader = next((reader for reader in readers if reader.recognises(path)), None)
    return None if reader is None else DataSource(*reader.read(path))


def is_saved_dataset(folder: Path) -> bool:
    """Whether datasets' `save_to_disk` wrote the folder."""
    return any((folder / name).is_file() for name in SAVED_DATASET_FILES)


def _read_split_metadata(paths: list[Path], folder: Path) -> Columns:
    """Read one metadata file per split: paths become relative to `folder`, the subfolder's name is the split."""
    tables = []
    for path in paths:
        columns = read_columns(path)
        audio = map_columns(columns).get("audio")
        if audio is None:
            raise UserError(f"has no column 'file_name'; its columns are {', '.join(columns)}", where=str(path))
        within = path.parent.relative_to(folder)
        columns["audio"] = [(within / name).as_posix() if name else "" for name in columns.pop(audio)]
        columns.setdefault("split", [path.parent.name] * len(columns["audio"]))
        tables.append(columns)
    return concat_tables(tables)


def _group_by_split(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """Group parquet files by split, as named on the hub: `train-00000-of-00002.parquet` or `train/0000.parquet`.

    Raises: UserError if the folder holds several configurations.
    """
    splits: dict[str, list[Path]] = {}
    roots = set()
    for path in files:
        named, inside = path.stem.split("-")[0], path.relative_to(folder).parts[:-1]
        is_shard = "-of-" in path.stem or not inside or inside == ("data",)
        splits.setdefault(named if is_shard else inside[-1], []).append(path)
        roots.add(inside if is_shard else inside[:-1])
    if len(roots) > 1:
        names = ", ".join(sorted("/".join(root) or "." for root in roots))
        raise UserError(f"holds several configurations: {names}", where=str(folder), fix="give one of these folders")
    return splits
