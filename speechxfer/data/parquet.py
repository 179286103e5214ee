"""Parquet with embedded audio, the hub's own form, as a memory-mapped Dataset in our columns."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.fingerprint import Hasher

from speechxfer.data.formats import rename_aliases
from speechxfer.errors import UserError, suggest_nearest

_STRINGS = ("id", "text", "speaker", "accent", "split", "label")


def read_parquet(splits: dict[str, list[Path]], folder: Path, where: str) -> datasets.Dataset:
    """Utterances of parquet files by split ("" is none given): `id`, `audio`, `path`, `bytes` and the other columns.

    The files are unpacked once into datasets' cache on disk and mapped from there, not held in memory.
    Raises UserError: no audio column, files that are not parquet, files of different columns.
    """
    tables = []
    for split, files in splits.items():
        for file in files:
            _refuse_damaged(file, where)
        try:
            loaded = datasets.Dataset.from_parquet([str(file) for file in files])
        except (pa.ArrowException, datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
            words = str(error.__cause__ or error).strip().splitlines()[0]
            raise UserError(f"is not readable parquet ({words})", where=where) from None
        assert isinstance(loaded, datasets.Dataset)
        tables.append(_table(loaded, split, folder, where))
    try:
        table = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise UserError(f"its splits do not have the same columns ({error})", where=where) from None
    names = table.column_names
    given = table["id"].to_pylist() if "id" in names else [""] * len(table)
    audio = table["audio"].to_pylist()
    repeated = len(set(audio)) < len(audio) and "split" in names
    if repeated:  # the hub's paths are file names, which splits may share
        audio = [f"{s}/{a}" for s, a in zip(table["split"].to_pylist(), audio, strict=True)]
    ids = [name or file for name, file in zip(given, audio, strict=True)]
    others = {name: table[name] for name in names if name != "id"}
    table = pa.table({"id": pa.array(ids, pa.string()), **others})
    fingerprint = Hasher.hash([(str(f), f.stat().st_size, f.stat().st_mtime) for fs in splits.values() for f in fs])
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint=fingerprint)


def _refuse_damaged(file: Path, where: str) -> None:
    """Raise UserError for a file whose table of contents, which stands at its end, cannot be read."""
    try:
        pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        named = where if Path(where).is_file() else str(file)
        words = str(error).strip().splitlines()[0]
        raise UserError(f"is not readable parquet ({words})", where=named, fix="copy or download it again") from None


def _table(loaded: datasets.Dataset, split: str, folder: Path, where: str) -> pa.Table:
    """One split in our columns; the audio's bytes stay where they are mapped."""
    table = loaded.data.table
    column = _audio_column(loaded, where)
    kept = [name for name in table.column_names if name not in (column, "path", "bytes", "audio")]
    renames = rename_aliases(kept)
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    names: list[str | None]
    if pa.types.is_struct(table[column].type):
        columns["bytes"] = pc.struct_field(table[column], "bytes")
        fields = [table[column].type.field(i).name for i in range(table[column].type.num_fields)]
        names = pc.struct_field(table[column], "path").to_pylist() if "path" in fields else [None] * len(table)
        held = pc.is_valid(columns["bytes"]).to_pylist()
    else:
        names, held = table[column].to_pylist(), [False] * len(table)
    audio = [name or f"{split or 'row'}-{number:06}" for number, name in enumerate(names, 1)]
    paths = [
        "" if inside or not name else str((folder / name).absolute()) for inside, name in zip(held, names, strict=True)
    ]
    columns = {"audio": pa.array(audio, pa.string()), "path": pa.array(paths, pa.string()), **columns}
    for name in kept:
        ours = renames.get(name, name)
        feature = loaded.features[name]
        if isinstance(feature, datasets.ClassLabel):
            labels = [None if n is None or n < 0 else feature.names[n] for n in table[name].to_pylist()]
            columns[ours] = pa.array([label or "" for label in labels], pa.string())
        elif ours in _STRINGS:
            columns[ours] = pc.fill_null(pc.cast(table[name], pa.string()), "")
        elif ours in ("start", "end"):
            columns[ours] = pc.cast(table[name], pa.float64())
        else:
            columns[ours] = table[name]
    if split and "split" not in columns:
        columns["split"] = pa.array([split] * len(table), pa.string())
    return pa.table(columns)


def _audio_column(loaded: datasets.Dataset, where: str) -> str:
    """`audio`, else the one column of the Audio kind. Raises UserError."""
    features = loaded.features
    if "audio" in features:
        return "audio"
    found = [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(features)
    raise UserError(
        f"has no column 'audio'{suggest_nearest('audio', features)}; its columns are {known}",
        where=where,
        fix="rename the column that holds the audio to 'audio'",
    )
