"""What a person names to have it heard: audio files, folders of them, DATA in any form. All become utterances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import datasets

from speechxfer.data.formats import HUB_PREFIX
from speechxfer.data.reader import find_duplicate_ids, read
from speechxfer.data.tables import TABLE_DELIMITERS
from speechxfer.errors import UserError

# what a folder is searched for: soundfile's formats and PyAV's; a single file may be called anything
AUDIO_SUFFIXES = {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
AUDIO_SUFFIXES |= {".m4a", ".m4b", ".mp4", ".aac", ".amr", ".3gp", ".webm", ".weba", ".mka", ".mkv", ".mov", ".wma"}


def collect_audio(named: Sequence[str | Path]) -> tuple[list[datasets.Dataset], list[UserError]]:
    """The utterances that files, folders and tables hold, in the order named; and the names where nothing is.

    A table, a parquet file, `hub:owner/name` and a folder that is DATA (metadata.csv, wav.scp, a Common Voice release,
    parquet) are read as such; another folder is searched for audio files, those below it too, sorted. A file's id and
    `audio` are its path as named. A file found twice is taken once.
    Raises UserError: nothing found at all, DATA that cannot be read, an id that stands for two utterances.
    """
    found: list[datasets.Dataset] = []
    plain: list[Path] = []  # audio files named one after the other, or found in folders
    known: set[Path] = set()
    missing: list[UserError] = []

    def close() -> None:
        if plain:
            names = [path.as_posix() for path in plain]
            found.append(
                datasets.Dataset.from_dict({"id": names, "audio": names, "path": [str(p.absolute()) for p in plain]})
            )
            plain.clear()

    for name in named:
        if _is_data(name):
            close()
            found.append(read(name))
            continue
        if not Path(name).exists():
            missing.append(UserError("no such file or folder", where=str(name)))
            continue
        for path in _files(Path(name)):
            resolved = path.resolve()
            if resolved not in known:
                known.add(resolved)
                plain.append(path)
    close()
    if not found:
        raise missing[0] if missing else UserError("no audio is named", fix="name a file, a folder or a table")
    if len(found) > 1:
        ids = chain.from_iterable(dataset["id"] for dataset in found)
        problems = find_duplicate_ids(ids, "the files and tables together")
        problems.fix = "transcribe them one at a time, or give the tables a column 'id'"
        problems.raise_if_any()
    return found, missing


def _is_data(name: str | Path) -> bool:
    path = Path(name)
    if str(name).startswith(HUB_PREFIX):
        return True
    if not path.is_dir():
        return path.suffix.lower() in {*TABLE_DELIMITERS, ".parquet"} and path.exists()
    if _holds(path, "metadata.csv", "metadata.tsv", "metadata.jsonl", "wav.scp"):
        return True
    if any(clips.is_dir() and _is_release(clips.parent) for clips in (path / "clips", *path.glob("*/clips"))):
        return True
    if next(_audio_in(path, path.iterdir()), None):
        return False
    return any(True for pattern in ("*/metadata.csv", "*/metadata.jsonl") for _ in path.glob(pattern)) or (
        any(True for _ in path.rglob("*.parquet"))
    )


def _holds(folder: Path, *names: str) -> bool:
    return any((folder / name).is_file() for name in names)


def _is_release(folder: Path) -> bool:
    """Whether a folder with clips is a Common Voice release, not just a folder called so."""
    return _holds(folder, "train.tsv", "dev.tsv", "test.tsv", "validated.tsv")


def _files(path: Path) -> list[Path]:
    """The file itself, or every audio file of a folder. Raises UserError for a folder that has none."""
    if not path.is_dir():
        return [path]
    files = sorted(_audio_in(path, path.rglob("*")))
    if not files:
        raise UserError(
            "holds no audio file, and no table of them",
            where=str(path),
            fix="name the files or the table themselves",
        )
    return files


def _audio_in(folder: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """Those of the paths below a folder that are audio. What is hidden is none: macOS leaves a ._name beside a name."""
    for path in paths:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in AUDIO_SUFFIXES and not hidden and path.is_file():
            yield path
