"""The forms of DATA that are not one plain table: folders with metadata.csv, Common Voice releases, hub names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from speechxfer.data.kaldi import read_kaldi_dir
from speechxfer.data.tables import TABLE_DELIMITERS, Columns, read_table
from speechxfer.errors import UserError

HUB_PREFIX = "hub:"
_METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_COMMON_VOICE = {"client_id": "speaker", "path": "audio", "sentence": "text", "accents": "accent"}
_ALIASES = {  # names that data sets on the hub use, the likeliest first
    "text": ("sentence", "transcription", "transcript", "normalized_text"),
    "speaker": ("speaker_id", "client_id"),
    "accent": ("accents",),
}


@dataclass
class DataSource:
    """What lies at a source: columns of strings, or parquet files by split. folder: what `audio` is relative to."""

    folder: Path
    columns: Columns = field(default_factory=dict)
    parquet: dict[str, list[Path]] = field(default_factory=dict)


def detect_format(source: str | Path) -> DataSource:
    """Tell the form of DATA and read its text. Raises UserError for what is none of the contract's forms."""
    if str(source).startswith(HUB_PREFIX):
        return _folder(download_dataset(str(source)), str(source))
    path = Path(source).expanduser()  # a shell leaves the ~ of KEY=~/VALUE to us
    if path.is_dir():
        return _folder(path, str(source))
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
            f"is not DATA ('{path.suffix or path.name}' is no table)",
            where=str(source),
            fix=f"give a table ({', '.join(TABLE_DELIMITERS)}, .parquet) or a folder of data",
        )
    if (path.parent / "clips").is_dir() and suffix == ".tsv" and _is_common_voice(path):
        return DataSource(path.parent / "clips", _common_voice_table(path))
    return DataSource(path.parent, read_table(path))


def download_dataset(source: str) -> Path:
    """The folder that `hub:owner/name` was downloaded to; `hub:owner/name/folder` takes one folder (configuration).

    Raises UserError when the hub does not give it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = source.removeprefix(HUB_PREFIX).strip("/").split("/")
    repository, inside = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        only = [f"{inside}/*"] if inside else None
        return Path(snapshot_download(repository, repo_type="dataset", allow_patterns=only)) / inside
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = "check the name (hub:owner/name) and the network, or download it and give the folder"
        raise UserError(f"the hub does not give it ({words})", where=source, fix=fix) from None


def rename_aliases(names: list[str]) -> dict[str, str]:
    """Old to new names where a column of ours is there under a name that data sets on the hub use."""
    chosen = {
        ours: next((alias for alias in aliases if alias in names), None)
        for ours, aliases in _ALIASES.items()
        if ours not in names
    }
    return {alias: ours for ours, alias in chosen.items() if alias}


def normalise_column_name(name: str) -> str:
    """The name under which a column that other data sets call `name` is read; `name` where it is no alias."""
    return _COMMON_VOICE.get(name) or next((ours for ours, aliases in _ALIASES.items() if name in aliases), name)


def _folder(folder: Path, where: str) -> DataSource:
    for name in _METADATA:
        if (folder / name).is_file():
            return DataSource(folder, _metadata(folder / name))
    if (folder / "wav.scp").is_file():
        return DataSource(*read_kaldi_dir(folder))
    voice = _common_voice_folder(folder, where)
    if voice:
        return DataSource(voice / "clips", _common_voice(voice))
    parquet = sorted(folder.rglob("*.parquet"))
    if parquet:
        return DataSource(folder, parquet=_by_split(folder, parquet))
    parts = [path for name in _METADATA for path in sorted(folder.glob(f"*/{name}"))]
    if parts:
        return DataSource(folder, _joined(parts, folder))
    tables = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in TABLE_DELIMITERS)
    fix = f"give the table itself, say {folder / tables[0]}" if tables else "give a table of your audio files"
    raise UserError("holds no metadata.csv, no wav.scp, no clips folder and no parquet", where=where, fix=fix)


def _metadata(path: Path) -> Columns:
    """metadata.csv of a folder as the hub has it (`file_name`), or in our own column names."""
    columns = read_table(path, ("file_name", "audio"))
    renames = rename_aliases(list(columns))
    if "audio" not in columns and "file_name" in columns:
        renames["file_name"] = "audio"
    return {renames.get(name, name): column for name, column in columns.items()}


def _joined(parts: list[Path], folder: Path) -> Columns:
    """One metadata.csv a split, each in its folder: paths relative to `folder`, the folder's name the split."""
    tables = []
    for path in parts:
        columns = _metadata(path)
        if "audio" not in columns:
            raise UserError(f"has no column 'file_name'; its columns are {', '.join(columns)}", where=str(path))
        within = path.parent.relative_to(folder)
        columns["audio"] = [(within / name).as_posix() if name else "" for name in columns["audio"]]
        columns.setdefault("split", [path.parent.name] * len(columns["audio"]))
        tables.append(columns)
    return concat_tables(tables)


def concat_tables(tables: list[Columns]) -> Columns:
    """Tables under each other; a column that one lacks is empty there."""
    names = list(dict.fromkeys(name for table in tables for name in table))
    sizes = [len(next(iter(table.values()), [])) for table in tables]
    return {
        name: [v for table, size in zip(tables, sizes, strict=True) for v in table.get(name, [""] * size)]
        for name in names
    }


def _is_common_voice(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        names = file.readline().rstrip("\r\n").split("\t")
    return {"client_id", "path", "sentence"} <= set(names) and "audio" not in names


def _common_voice_folder(folder: Path, where: str) -> Path | None:
    """The language folder of a release: `folder` itself, or the only one below it."""
    if (folder / "clips").is_dir():
        return folder
    found = sorted(path.parent for path in folder.glob("*/clips") if path.is_dir())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"holds several languages: {names}", where=where, fix=f"give one, say {found[0]}")
    return found[0] if found else None


def _common_voice(folder: Path) -> Columns:
    """train, dev and test of a release, which share no speaker; where there are none, validated.tsv."""
    given = {name: folder / f"{name}.tsv" for name in ("train", "dev", "test") if (folder / f"{name}.tsv").is_file()}
    if not given:
        if not (folder / "validated.tsv").is_file():
            problem = "has clips, but neither train.tsv, dev.tsv, test.tsv nor validated.tsv"
            raise UserError(problem, where=str(folder), fix="unpack the release again")
        return _common_voice_table(folder / "validated.tsv")
    tables = []
    for name, path in given.items():
        columns = _common_voice_table(path)
        columns["split"] = [name] * len(columns["audio"])
        tables.append(columns)
    return concat_tables(tables)


def _common_voice_table(path: Path) -> Columns:
    """A release's TSV, in which quotation marks are text, under our names."""
    columns = read_table(path, ("path",), quoted=False)
    for name in ("client_id", "path", "sentence"):
        if name not in columns:
            raise UserError(f"has no column '{name}', as Common Voice's tables have", where=str(path))
    return {_COMMON_VOICE.get(name, name): column for name, column in columns.items()}


def _by_split(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """Parquet files by split, told as the hub tells it: `train-00000-of-00002.parquet`, or `train/0000.parquet`.

    Raises UserError where several configurations lie in one repository.
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
