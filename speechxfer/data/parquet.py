"""Data sets of the `datasets` library, as parquet or from `save_to_disk`: memory-mapped, with canonical columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.fingerprint import Hasher

from speechxfer.data.paths import encode_path
from speechxfer.data.roles import rename_to_roles
from speechxfer.errors import UserError, suggest_nearest
from speechxfer.tables import map_columns

_STRINGS = ("id", "text", "speaker", "accent", "split", "label")


def read_parquet(
    splits: dict[str, list[Path]], folder: Path, where: str, chosen: Mapping[str, str] | None = None
) -> datasets.Dataset:
    """Read parquet files by split ("" is no split): `id`, `audio`, `path`, `bytes` and the other columns.

    The files are unpacked once into datasets' cache on disk and memory-mapped from there.

    Args:
        chosen: role to column name, instead of the known names.

    Raises:
        UserError: if there is no audio column, if a file is not parquet, or if the splits' columns differ.
    """
    loaded = {}
    for split, files in splits.items():
        for file in files:
            _refuse_damaged(file, where)
        try:
            loaded[split] = datasets.Dataset.from_parquet([str(file) for file in files])
        except (pa.ArrowException, datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise UserError(f"is not readable parquet ({reason})", where=where) from None
    fingerprint = Hasher.hash([(str(f), f.stat().st_size, f.stat().st_mtime) for fs in splits.values() for f in fs])
    return _convert_splits(loaded, folder, where, chosen, fingerprint)


def read_saved_dataset(folder: Path, where: str, chosen: Mapping[str, str] | None = None) -> datasets.Dataset:
    """Read a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote (see `read_parquet`)."""
    try:
        found = datasets.load_from_disk(str(folder))
    except (pa.ArrowException, ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"is not readable as a saved data set ({reason})", where=where) from None
    loaded = dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
    # rows that `select` or `shuffle` picked are an index over the table
    loaded = {str(split): rows.flatten_indices() for split, rows in loaded.items()}
    fingerprint = Hasher.hash([rows._fingerprint for rows in loaded.values()])
    return _convert_splits(loaded, folder, where, chosen, fingerprint)


def _convert_splits(
    loaded: Mapping[str, datasets.Dataset],
    folder: Path,
    where: str,
    chosen: Mapping[str, str] | None,
    fingerprint: str,
) -> datasets.Dataset:
    tables = [_convert_split(rows, split, folder, where, chosen) for split, rows in loaded.items()]
    try:
        table = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise UserError(f"its splits have different columns ({error})", where=where) from None
    names = table.column_names
    named = table["id"].to_pylist() if "id" in names else [""] * len(table)
    audio = table["audio"].to_pylist()
    if len(set(audio)) < len(audio) and "split" in names:  # the hub's paths are file names, which splits may share
        audio = [f"{s}/{a}" for s, a in zip(table["split"].to_pylist(), audio, strict=True)]
    ids = [name or file for name, file in zip(named, audio, strict=True)]
    others = {name: table[name] for name in names if name != "id"}
    table = pa.table({"id": pa.array(ids, pa.string()), **others})
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint=fingerprint)


def _refuse_damaged(file: Path, where: str) -> None:
    """Raise UserError for a file whose metadata, which is at its end, cannot be read."""
    try:
        pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        named = where if Path(where).is_file() else str(file)
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"is not readable parquet ({reason})", where=named, fix="copy or download it again") from None


def _convert_split(
    loaded: datasets.Dataset, split: str, folder: Path, where: str, chosen: Mapping[str, str] | None
) -> pa.Table:
    """Convert one split to canonical columns; the bytes of the audio stay memory-mapped."""
    table = loaded.data.table
    roles = map_columns(table.column_names, chosen, where)
    column = _find_audio_column(loaded, roles.get("audio"), where)
    kept = [name for name in table.column_names if name not in (column, "path", "bytes", "audio")]
    renames = rename_to_roles({role: name for role, name in roles.items() if name in kept}, kept)
    columns = _convert_audio(table[column], split, folder)
    for name in kept:
        canonical = renames.get(name, name)
        columns[canonical] = _convert_column(table[name], loaded.features[name], canonical)
    if split and "split" not in columns:
        columns["split"] = pa.array([split] * len(table), pa.string())
    return pa.table(columns)


def _convert_audio(column: pa.ChunkedArray, split: str, folder: Path) -> dict[str, pa.ChunkedArray | pa.Array]:
    """Convert the audio column, a struct of bytes and path or a path, to `audio`, `path` and, if embedded, `bytes`."""
    embedded: dict[str, pa.ChunkedArray | pa.Array] = {}
    names: list[str | None]
    if pa.types.is_struct(column.type):
        embedded["bytes"] = pc.struct_field(column, "bytes")
        fields = [column.type.field(i).name for i in range(column.type.num_fields)]
        names = pc.struct_field(column, "path").to_pylist() if "path" in fields else [None] * len(column)
        held = pc.is_valid(embedded["bytes"]).to_pylist()
    else:
        names, held = column.to_pylist(), [False] * len(column)
    audio = [name or f"{split or 'row'}-{number:06}" for number, name in enumerate(names, 1)]
    paths = [
        "" if inside or not name else encode_path((folder / name).absolute())
        for inside, name in zip(held, names, strict=True)
    ]
    return {"audio": pa.array(audio, pa.string()), "path": pa.array(paths, pa.string()), **embedded}


def _convert_column(column: pa.ChunkedArray, feature: Any, name: str) -> pa.ChunkedArray | pa.Array:
    """Convert class labels and text to strings ("" is missing), `start` and `end` to float."""
    if isinstance(feature, datasets.ClassLabel):
        labels = [None if n is None or n < 0 else feature.names[n] for n in column.to_pylist()]
        return pa.array([label or "" for label in labels], pa.string())
    if name in _STRINGS:
        return pc.fill_null(pc.cast(column, pa.string()), "")
    if name in ("start", "end"):
        return pc.cast(column, pa.float64())
    return column


def _find_audio_column(loaded: datasets.Dataset, named: str | None, where: str) -> str:
    """Return the column with an audio column's name, or the only one of the Audio type.

    Raises:
        UserError: if there is none.
    """
    features = loaded.features
    found = [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]
    if named is not None and (not found or named in found):
        return named
    if len(found) == 1:
        return found[0]
    known = ", ".join(features)
    raise UserError(
        f"has no column 'audio'{suggest_nearest('audio', features)}; its columns are {known}",
        where=where,
        fix="name the column with the audio: columns audio=NAME",
    )
