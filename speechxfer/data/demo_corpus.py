"""The demo corpus: everyday English in synthetic Lancashire voices, reproducible byte for byte.

The splits share no speaker, no sentence and no sequence of four words (tested). The corpus shows that the toolkit
works; its results say nothing about people.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import soundfile

from speechxfer.atomic import temporary_sibling_dir
from speechxfer.data.resampling import resample
from speechxfer.data.synthesis import synthesize_espeak
from speechxfer.errors import UserError
from speechxfer.progress import ProgressCallback
from speechxfer.shapes import SAMPLE_RATE

DEMO_VOICE, DEMO_ACCENT = "en-gb-x-gbclan", "Lancashire"
# espeak-ng's variants. Excluded: whispering, croaking and robotic ones, and most of those on which the pretrained
# whisper-tiny.en has a WER over 50 % (measured once, on eight of the dev sentences).
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
    """An utterance to synthesize. audio: path within the corpus; speaker: espeak-ng's voice variant."""

    split: str
    audio: str
    text: str
    speaker: str


@cache
def make_sentences() -> dict[str, tuple[str, ...]]:
    """Return the sentences of each split, in order."""
    sentences: dict[str, list[str]] = {}
    text = resources.files("speechxfer.data").joinpath("demo_sentences.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("# "):
            current = sentences.setdefault(line[2:], [])
        elif line:
            current.append(line)
    return {split: tuple(lines) for split, lines in sentences.items()}


def list_utterances() -> list[DemoUtterance]:
    """Return all utterances of the corpus. The speakers take turns over the sentences."""
    return [
        DemoUtterance(split, f"audio/{split}-{index:03d}-{speaker.lower()}.flac", text, speaker)
        for split, texts in make_sentences().items()
        for index, text in enumerate(texts)
        for speaker in [DEMO_SPEAKERS[split][index % len(DEMO_SPEAKERS[split])]]
    ]


def write_demo_corpus(folder: Path, progress: ProgressCallback | None = None) -> None:
    """Write train.csv, dev.csv, test.csv and their audio (FLAC, 16 kHz) to `folder`, atomically.

    A complete corpus is kept, a damaged one is replaced. progress: called with (utterances written, total).
    Raises: UserError if `folder` holds anything else, MissingExtraError without the extra `demo`.
    """
    folder = Path(folder)
    if _is_complete(folder):
        return
    _refuse_foreign_files(folder)
    with temporary_sibling_dir(folder) as scratch:
        corpus = scratch / "new"
        (corpus / "audio").mkdir(parents=True)
        utterances = list_utterances()
        for done, utterance in enumerate(utterances, start=1):
            _write_audio(corpus / utterance.audio, utterance)
            if progress:
                progress(done, len(utterances))
        for name, content in _make_tables().items():
            (corpus / name).write_bytes(content)
        (corpus / _CHECKSUMS).write_text(_checksums(corpus, _list_files()), encoding="utf-8")
        if folder.exists():
            folder.rename(scratch / "old")
        try:
            corpus.rename(folder)
        except OSError:
            if not _is_complete(folder):  # unless another process wrote the same bytes first
                raise


def _write_audio(path: Path, utterance: DemoUtterance) -> None:
    waveform, rate = synthesize_espeak(utterance.text, voice=DEMO_VOICE, variant=utterance.speaker)
    soundfile.write(path, resample(waveform, rate, SAMPLE_RATE), SAMPLE_RATE, format="FLAC", subtype="PCM_16")


def _make_tables() -> dict[str, bytes]:
    """Return the content of each split's CSV by file name."""
    tables = {}
    for split in make_sentences():
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(DEMO_COLUMNS)
        writer.writerows(
            (one.audio, one.text, one.speaker, DEMO_ACCENT) for one in list_utterances() if one.split == split
        )
        tables[f"{split}.csv"] = buffer.getvalue().encode()
    return tables


def _list_files() -> list[str]:
    return [*_make_tables(), *(utterance.audio for utterance in list_utterances())]


def _checksums(folder: Path, names: list[str]) -> str:
    """Return the checksums in the format of `sha256sum`."""
    return "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)


def _is_complete(folder: Path) -> bool:
    """Whether `folder` holds this corpus, with every file unchanged."""
    try:
        if any((folder / name).read_bytes() != content for name, content in _make_tables().items()):
            return False
        return (folder / _CHECKSUMS).read_text(encoding="utf-8") == _checksums(folder, _list_files())
    except (OSError, UnicodeDecodeError):  # missing, or another data set
        return False


def _refuse_foreign_files(folder: Path) -> None:
    """Raise UserError unless `folder` is missing, empty, or holds only an older or damaged demo corpus."""
    fix = "name a folder that does not exist yet"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError("is a file; the demo corpus needs a folder", where=str(folder), fix=fix)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not present:
        return
    try:
        listing = (folder / _CHECKSUMS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        listing = ""
    corpus_files = {line[66:] for line in listing.splitlines()} | {*_list_files(), _CHECKSUMS}
    foreign = sorted(present - corpus_files if listing else present)
    if foreign:
        raise UserError(
            f"holds files that are not part of the demo corpus ({foreign[0]}); nothing was changed",
            where=str(folder),
            fix=fix,
        )
