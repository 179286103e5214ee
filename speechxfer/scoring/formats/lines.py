"""Readers of Kaldi's `text` and `utt2spk` files, and of plain lines."""

from __future__ import annotations

import re
from pathlib import Path

from speechxfer.errors import Problems, UserError
from speechxfer.scoring.formats.transcript import (
    Side,
    TranscriptFile,
    Utterance,
    iter_numbered_lines,
    read_nfc_text,
    require_utterances,
    split_lines,
)

_SEPARATOR = re.compile(r"[ \t]+")


def read_kaldi_text(path: Path, side: Side) -> TranscriptFile:
    """Read lines of `id text` (an id alone is an empty text); speakers come from `utt2spk` in the same folder.

    As in Kaldi, the id ends at the first space or tab.
    """
    utt2spk = path.parent / "utt2spk"
    speakers = read_utt2spk(utt2spk) if utt2spk.is_file() else {}
    utterances = []
    for number, line in iter_numbered_lines(path):
        name, *text = _SEPARATOR.split(line.strip(), maxsplit=1)
        utterances.append(Utterance(name, text[0] if text else "", number, speaker=speakers.get(name)))
    return TranscriptFile(path, "kaldi", require_utterances(path, utterances))


def read_utt2spk(path: Path) -> dict[str, str]:
    """Read Kaldi's map from utterance to speaker. Raises UserError for lines that are not two words."""
    if not path.is_file():
        raise UserError("no such file", where=str(path))
    problems = Problems(f"{path} is not an utt2spk file", fix="write each line as: utterance-id speaker-id")
    speakers: dict[str, str] = {}
    for number, line in iter_numbered_lines(path):
        match line.split():
            case [name, speaker]:
                if speakers.setdefault(name, speaker) != speaker:
                    problems.add(f"line {number}: '{name}' has two speakers, '{speakers[name]}' and '{speaker}'")
            case _:
                problems.add(f"line {number}: '{line.strip()}'")
    problems.raise_if_any()
    return speakers


def read_lines(path: Path, side: Side) -> TranscriptFile:
    """Read one utterance per line, with the line number as its id; an empty line is an empty text."""
    lines = enumerate(split_lines(read_nfc_text(path)), start=1)
    utterances = [Utterance(str(n), line.strip(), n) for n, line in lines]
    return TranscriptFile(path, "lines", require_utterances(path, utterances))
