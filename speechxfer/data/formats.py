"""Formats of DATA: tables, folders with metadata.csv, Kaldi folders, Common Voice releases, hub names and parquet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from speechxfer.data.kaldi import read_kaldi_dir
from speechxfer.data.tables import TABLE_DELIMITERS, Columns, read_table
from speechxfer.errors import UserError

HUB_PREFIX = "hub:"
_METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_COMMON_VOICE = {"client_id": "speaker", "path": "audio", "sentence": "text", "accents": "accent"}
_ALIASES = {  # column names of data sets on the hub, most common first
    "text": ("sentence", "transcription", "transcript", "normalized_text"),
    "speaker": ("speaker_id", "client_id"),
    "accent": ("accents",),
}


@dataclass
class DataSource:
    """A detected source: columns of strings, or parquet files by split. folder: base of the paths in `audio`."""

    folder: Path
    columns: Columns = field(default_factory=dict)
    parquet: dict[str, list[Path]] = field(default_factory=dict)


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
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return DataSource(path.parent, parquet={"": [path]})
    if suffix not in TABLE_DELIMITERS:
        raise UserError(
            f"is not DATA ('{path.suffix or path.name}' is not a table)",
            where=str(source),
            fix=f"give a table ({', '.join(TABLE_DELIMITERS)}, .parquet) or a folder of data",
        )
    if (path.parent / "clips").is_dir() and suffix == ".tsv" and _is_common_voice(path):
        return DataSource(path.parent / "clips", _read_common_voice_table(path))
    return DataSource(path.parent, read_table(path))


def download_dataset(source: str) -> Path:
    """Download `hub:owner/name` and return its folder; `hub:owner/name/folder` downloads one configuration.

    Raises: UserError if the download fails.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = source.removeprefix(HUB_PREFIX).strip("/").split("/")
    repository, inside = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        only = [f"{inside}/*"] if inside else None
        return Path(snapshot_download(repository, repo_type="dataset", allow_patterns=only)) / inside
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = "check the name (hub:owner/name) and the network, or download it and give the folder"
        raise UserError(f"cannot be downloaded from the hub ({reason})", where=source, fix=fix) from None


def rename_aliases(names: list[str]) -> dict[str, str]:
    """Map the aliases among `names` to canonical column names, unless the canonical one is present too."""
    chosen = {
        canonical: next((alias for alias in aliases if alias in names), None)
        for canonical, aliases in _ALIASES.items()
        if canonical not in names
    }
    return {alias: canonical for canonical, alias in chosen.items() if alias}


def normalise_column_name(name: str) -> str:
    """Return the canonical name of a column alias; any other name is returned unchanged."""
    return _COMMON_VOICE.get(name) or next(
        (canonical for canonical, aliases in _ALIASES.items() if name in aliases), name
    )


def _detect_folder(folder: Path, where: str) -> DataSource:
    for name in _METADATA:
        if (folder / name).is_file():
            return DataSource(folder, _read_metadata(folder / name))
    if (folder / "wav.scp").is_file():
        return DataSource(*read_kaldi_dir(folder))
    release = _find_common_voice_release(folder, where)
    if release:
        return DataSource(release / "clips", _read_common_voice(release))
    parquet = sorted(folder.rglob("*.parquet"))
    if parquet:
        return DataSource(folder, parquet=_group_by_split(folder, parquet))
    metadata = [path for name in _METADATA for path in sorted(folder.glob(f"*/{name}"))]
    if metadata:
        return DataSource(folder, _read_split_metadata(metadata, folder))
    tables = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in TABLE_DELIMITERS)
    fix = f"give the table itself, e.g. {folder / tables[0]}" if tables else "give a table of your audio files"
    raise UserError(
        "no data set found in this folder: it has no metadata.csv, no wav.scp, no clips folder and no parquet",
        where=where,
        fix=fix,
    )


def _read_metadata(path: Path) -> Columns:
    """Read a metadata file in the hub's format (`file_name`) or with our column names."""
    columns = read_table(path, ("file_name", "audio"))
    renames = rename_aliases(list(columns))
    if "audio" not in columns and "file_name" in columns:
        renames["file_name"] = "audio"
    return {renames.get(name, name): column for name, column in columns.items()}


def _read_split_metadata(paths: list[Path], folder: Path) -> Columns:
    """Read one metadata file per split: paths become relative to `folder`, the subfolder's name is the split."""
    tables = []
    for path in paths:
        columns = _read_metadata(path)
        if "audio" not in columns:
            raise UserError(f"has no column 'file_name'; its columns are {', '.join(columns)}", where=str(path))
        within = path.parent.relative_to(folder)
        columns["audio"] = [(within / name).as_posix() if name else "" for name in columns["audio"]]
        columns.setdefault("split", [path.parent.name] * len(columns["audio"]))
        tables.append(columns)
    return concat_tables(tables)


def concat_tables(tables: list[Columns]) -> Columns:
    """Concatenate the rows of tables; a column that a table lacks is empty there."""
    names = list(dict.fromkeys(name for table in tables for name in table))
    sizes = [len(next(iter(table.values()), [])) for table in tables]
    return {
        name: [v for table, size in zip(tables, sizes, strict=True) for v in table.get(name, [""] * size)]
        for name in names
    }


def _is_common_voice(path: Path) -> bool:
    """Whether a TSV has the columns of a Common Voice release."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        names = file.readline().rstrip("\r\n").split("\t")
    return {"client_id", "path", "sentence"} <= set(names) and "audio" not in names


def _find_common_voice_release(folder: Path, where: str) -> Path | None:
    """Return the language folder of a release: `folder` itself, or the only one below it."""
    if (folder / "clips").is_dir():
        return folder
    found = sorted(path.parent for path in folder.glob("*/clips") if path.is_dir())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"holds several languages: {names}", where=where, fix=f"give one of them, e.g. {found[0]}")
    return found[0] if found else None


def _read_common_voice(folder: Path) -> Columns:
    """Read train, dev and test of a release, which share no speaker, or validated.tsv if they are missing."""
    paths = {name: folder / f"{name}.tsv" for name in ("train", "dev", "test") if (folder / f"{name}.tsv").is_file()}
    if not paths:
        if not (folder / "validated.tsv").is_file():
            problem = "has clips, but neither train.tsv, dev.tsv, test.tsv nor validated.tsv"
            raise UserError(problem, where=str(folder), fix="unpack the release again")
        return _read_common_voice_table(folder / "validated.tsv")
    tables = []
    for name, path in paths.items():
        columns = _read_common_voice_table(path)
        columns["split"] = [name] * len(columns["audio"])
        tables.append(columns)
    return concat_tables(tables)


def _read_common_voice_table(path: Path) -> Columns:
    """Read a release's TSV, in which quotation marks are text, with canonical column names."""
    columns = read_table(path, ("path",), quoted=False)
    for name in ("client_id", "path", "sentence"):
        if name not in columns:
            raise UserError(f"has no column '{name}', which Common Voice tables have", where=str(path))
    return {_COMMON_VOICE.get(name, name): column for name, column in columns.items()}


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
