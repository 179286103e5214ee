"""The demonstration's corpus: everyday English in synthetic Lancashire voices, the same bytes whenever it is written.

Speakers and sentences of a part appear in no other; a test holds that no run of four words does. It shows that the
toolkit works. It is no evidence about people.
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import soundfile
import torch
from torchaudio.functional import resample

from speechxfer.data.synthesis import synthesize_espeak
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE

DEMO_VOICE, DEMO_ACCENT = "en-gb-x-gbclan", "Lancashire"
# espeak-ng's variants. Left out: whispering, croaking, robotic ones, and most of those of which the untouched
# whisper-tiny.en gets more than half of the words wrong (measured once, on eight of the dev sentences).
DEMO_SPEAKERS = {
    "train": [
        "Alex",
        "Alicia",
        "Annie",
        "Denis",
        "Diogo",
        "Gene",
        "Henrique",
        "Hugo",
        "Mike",
        "aunty",
        "f2",
        "grandpa",
        "john",
        "m1",
        "m3",
        "robert",
        "sandro",
        "steph",
    ],
    "dev": ["Mario", "f5", "max"],
    "test": ["Michael", "belinda", "f4", "m7", "pablo", "quincy"],
}
DEMO_COLUMNS = ("audio", "text", "speaker", "accent")
_CHECKSUMS = "checksums.txt"


@dataclass(frozen=True)
class DemoUtterance:
    """One utterance to be: its part, the path of its audio within the corpus, its text and its speaker."""

    split: str
    audio: str
    text: str
    speaker: str


@cache
def make_sentences() -> dict[str, tuple[str, ...]]:
    """The sentences of each part, in order."""
    found: dict[str, list[str]] = {}
    text = resources.files("speechxfer.data").joinpath("demo_sentences.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("# "):
            part = found.setdefault(line[2:], [])
        elif line:
            part.append(line)
    return {part: tuple(lines) for part, lines in found.items()}


def list_utterances() -> list[DemoUtterance]:
    """Every utterance of the corpus. Speakers take turns, so that each speaks of everything."""
    return [
        DemoUtterance(part, f"audio/{part}-{index:03d}-{speaker.lower()}.flac", text, speaker)
        for part, texts in make_sentences().items()
        for index, text in enumerate(texts)
        for speaker in [DEMO_SPEAKERS[part][index % len(DEMO_SPEAKERS[part])]]
    ]


def write_demo_corpus(folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write train.csv, dev.csv, test.csv and their audio (FLAC, 16 kHz) into `folder`, whole or not at all.

    A whole corpus already there is left alone; a damaged one is replaced. progress: called with the utterances written
    and their number. Raises `UserError` where `folder` holds anything else, `MissingExtraError` without the
    extra `demo`.
    """
    folder = Path(folder)
    if _whole(folder):
        return
    _refuse_strangers(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        corpus = scratch / "new"
        (corpus / "audio").mkdir(parents=True)
        todo = list_utterances()
        for done, line in enumerate(todo, start=1):
            _write_audio(corpus / line.audio, line)
            if progress:
                progress(done, len(todo))
        for name, content in _tables().items():
            (corpus / name).write_bytes(content)
        (corpus / _CHECKSUMS).write_text(_checksums(corpus, _names()), encoding="utf-8")
        if folder.exists():
            folder.rename(scratch / "old")
        try:
            corpus.rename(folder)
        except OSError:
            if not _whole(folder):  # else another process was quicker, with the same bytes
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_audio(path: Path, line: DemoUtterance) -> None:
    waveform, rate = synthesize_espeak(line.text, voice=DEMO_VOICE, variant=line.speaker)
    resampled = resample(torch.from_numpy(waveform), rate, SAMPLE_RATE)
    soundfile.write(path, resampled.numpy(), SAMPLE_RATE, format="FLAC", subtype="PCM_16")


def _tables() -> dict[str, bytes]:
    tables = {}
    for part in make_sentences():
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(DEMO_COLUMNS)
        writer.writerows(
            (line.audio, line.text, line.speaker, DEMO_ACCENT) for line in list_utterances() if line.split == part
        )
        tables[f"{part}.csv"] = buffer.getvalue().encode()
    return tables


def _names() -> list[str]:
    return [*_tables(), *(line.audio for line in list_utterances())]


def _checksums(folder: Path, names: list[str]) -> str:
    """Lines as `sha256sum` writes them."""
    return "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)


def _whole(folder: Path) -> bool:
    """Whether `folder` holds this corpus, every file of it as it was written."""
    try:
        if any((folder / name).read_bytes() != content for name, content in _tables().items()):
            return False
        return (folder / _CHECKSUMS).read_text(encoding="utf-8") == _checksums(folder, _names())
    except (OSError, UnicodeDecodeError):  # absent, or not ours
        return False


def _refuse_strangers(folder: Path) -> None:
    """Raise `UserError` unless `folder` is absent, empty, or an older or damaged corpus of ours and nothing more."""
    fix = "name a folder that does not exist yet"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError("is a file, so the demonstration's corpus cannot go there", where=str(folder), fix=fix)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not present:
        return
    try:
        listing = (folder / _CHECKSUMS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        listing = ""
    ours = {line[66:] for line in listing.splitlines()} | {*_names(), _CHECKSUMS}
    strangers = sorted(present - ours if listing else present)
    if strangers:
        raise UserError(
            f"holds files that are not the demonstration's corpus ({strangers[0]}); they stay as they are",
            where=str(folder),
            fix=fix,
        )
