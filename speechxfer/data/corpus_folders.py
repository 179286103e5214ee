"""Folders of corpora without a table: LibriSpeech, TIMIT, LJSpeech, FLEURS, audio with text files, class folders."""

from __future__ import annotations

from pathlib import Path

from speechxfer.data.class_folders import read_class_folders
from speechxfer.data.subtitles import SUBTITLE_SUFFIXES, read_subtitles
from speechxfer.data.tables import Columns
from speechxfer.errors import Problems, UserError
from speechxfer.tables.text_file import read_text

# suffixes that a folder is searched for (soundfile's formats and PyAV's); a file that is named may have any suffix
AUDIO_SUFFIXES = {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
AUDIO_SUFFIXES |= {".m4a", ".m4b", ".mp4", ".aac", ".amr", ".3gp", ".webm", ".weba", ".mka", ".mkv", ".mov", ".wma"}
_TEXT_SUFFIXES = (".txt", ".lab")
_FLEURS = ("id", "file_name", "raw_transcription", "transcription", "phonemes", "num_samples", "gender")
_SPLITS = ("train", "dev", "test")


def find_audio_files(folder: Path, *, pattern: str = "**/*") -> list[Path]:
    """Return the audio files of a folder, sorted. Hidden files are skipped: macOS writes ._NAME next to NAME."""
    return [
        path
        for path in sorted(folder.glob(pattern))
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


def read_corpus_folder(folder: Path) -> Columns | None:
    """Read a folder in one of the layouts, with paths relative to it; None if it has none of them."""
    for read in (_read_librispeech, _read_timit, _read_files_with_text):
        columns = read(folder)
        if columns is not None:
            return columns
    return read_class_folders(folder, find_audio_files(folder))


def read_headerless_table(path: Path) -> Columns | None:
    """Read the table of LJSpeech (`id|text|normalised text`) or FLEURS, which have no header; None for another one.

    Paths are relative to the table's folder.
    """
    first = read_text(path).lstrip("\n").partition("\n")[0].rstrip("\r")
    if "|" in first and (path.parent / "wavs").is_dir():
        name = first.split("|")[0]
        if not (path.parent / "wavs" / f"{name}.wav").is_file():
            return None
        names = ("id", "raw_text", "text")[: first.count("|") + 1]
        names = ("id", "text") if len(names) == 2 else names
        columns = _read_with_names(path, names, "|")
        return {**columns, "audio": [f"wavs/{name}.wav" for name in columns["id"]]}
    cells = first.split("\t")
    if len(cells) == len(_FLEURS) and cells[1].endswith(".wav") and cells[5].isdigit():
        columns = _read_with_names(path, _FLEURS, "\t")
        places = (f"audio/{path.stem}/", f"{path.stem}/", "")
        place = next((at for at in places if (path.parent / at / cells[1]).is_file()), "")
        audio = [place + name for name in columns.pop("file_name")]
        return {"audio": audio, **columns, "text": columns.pop("transcription")}
    return None


def _read_with_names(path: Path, names: tuple[str, ...], delimiter: str) -> Columns:
    """Read a headerless table in which quotation marks are text."""
    problems = Problems(f"{path}: rows that do not fit the first", fix=f"write {len(names)} cells in each row")
    columns: Columns = {name: [] for name in names}
    for number, line in enumerate(read_text(path).replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.split(delimiter)
        if len(cells) != len(names):
            problems.add(f"line {number} has {len(cells)} cells instead of {len(names)}")
            continue
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    problems.raise_if_any()
    return columns


def _read_librispeech(folder: Path) -> Columns | None:
    """Read `SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` with lines of `id TEXT`, and the audio next to them."""
    transcripts = sorted(folder.rglob("*.trans.txt"))
    if not transcripts:
        return None
    columns: Columns = {name: [] for name in ("id", "audio", "text", "speaker", "chapter", "split")}
    for path in transcripts:
        suffixes = {found.stem: found.suffix for found in path.parent.iterdir() if found.suffix in AUDIO_SUFFIXES}
        for line in read_text(path).splitlines():
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            audio = path.parent / f"{name}{suffixes.get(name, '.flac')}"
            within = audio.relative_to(folder)
            speaker, _, rest = name.partition("-")
            row = (name, within.as_posix(), text, speaker, rest.partition("-")[0], _find_split(within))
            for column, cell in zip(columns.values(), row, strict=True):
                column.append(cell)
    return _drop_empty(columns, "split")


def _read_timit(folder: Path) -> Columns | None:
    """Read `SPLIT/DIALECT/SPEAKER/SENTENCE` with .WAV, .PHN and .TXT files (`first last TEXT`)."""
    phones = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".phn")
    if not phones:
        return None
    columns: Columns = {name: [] for name in ("audio", "text", "speaker", "accent", "gender", "split")}
    for path in phones:
        files = {found.suffix.lower(): found for found in path.parent.glob(f"{path.stem}.*")}
        if ".wav" not in files or ".txt" not in files:
            continue
        text = read_text(files[".txt"]).strip().split(maxsplit=2)
        within = files[".wav"].relative_to(folder)
        speaker, dialect = path.parent.name, path.parent.parent.name
        row = (within.as_posix(), text[-1], speaker, dialect, speaker[:1].lower(), _find_split(within))
        for column, cell in zip(columns.values(), row, strict=True):
            column.append(cell)
    return _drop_empty(columns, "split") if columns["audio"] else None


def _read_files_with_text(folder: Path) -> Columns | None:
    """Read audio files with a text file (.txt, .lab) or subtitles (.srt, .vtt) of the same name.

    An audio file without one has an empty text; None if no audio file has one.
    """
    partners = {path: find_text_file(path) for path in find_audio_files(folder)}
    if not any(partners.values()):
        return None
    columns: Columns = {name: [] for name in ("audio", "text", "speaker", "start", "end")}
    for path, partner in partners.items():
        rows: list[tuple[str, str, str, str]] = [("", "", "", "")]
        if partner is not None and partner.suffix.lower() in SUBTITLE_SUFFIXES:
            rows = [(cue.text, cue.speaker, str(cue.start), str(cue.end)) for cue in read_subtitles(partner)]
        elif partner is not None:
            rows = [(" ".join(read_text(partner).split()), "", "", "")]
        for row in rows:
            for column, cell in zip(columns.values(), (path.relative_to(folder).as_posix(), *row), strict=True):
                column.append(cell)
    return _drop_empty(columns, "speaker", "start", "end")


def read_subtitle_file(path: Path) -> Columns:
    """Read subtitles as DATA: one row per cue, of the audio file with the same name.

    Raises:
        UserError: if there is no such audio file.
    """
    audio = next((p for p in sorted(path.parent.glob(f"{path.stem}.*")) if p.suffix.lower() in AUDIO_SUFFIXES), None)
    if audio is None:
        raise UserError("there is no audio file of the same name", where=str(path), fix=f"name it {path.stem}.wav")
    cues = read_subtitles(path)
    columns: Columns = {
        "audio": [audio.name] * len(cues),
        "text": [cue.text for cue in cues],
        "speaker": [cue.speaker for cue in cues],
        "start": [str(cue.start) for cue in cues],
        "end": [str(cue.end) for cue in cues],
    }
    return _drop_empty(columns, "speaker")


def find_text_file(audio: Path) -> Path | None:
    """Return the transcript with the name of an audio file: text first, then subtitles."""
    names = (audio.with_suffix(suffix) for suffix in (*_TEXT_SUFFIXES, *SUBTITLE_SUFFIXES))
    return next((path for path in names if path.is_file()), None)


def _find_split(path: Path) -> str:
    """Return train, dev or test if a folder of the path begins with it (train-clean-100, TRAIN)."""
    parts = [part.lower() for part in path.parts[:-1]]
    return next((name for part in parts for name in _SPLITS if part.startswith(name)), "")


def _drop_empty(columns: Columns, *names: str) -> Columns:
    """Leave out columns of the names that have no value."""
    return {name: cells for name, cells in columns.items() if name not in names or any(cells)}
