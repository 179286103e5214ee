"""Kaldi's `text` and plain lines."""

from __future__ import annotations

from pathlib import Path

from speechxfer.errors import Problems, UserError
from speechxfer.scoring.formats.transcript import (
    Side,
    TranscriptFile,
    Utterance,
    iter_numbered_lines,
    read_nfc_text,
    require_utterances,
)


def read_kaldi_text(path: Path, side: Side) -> TranscriptFile:
    """`id text` a line, an id alone for an empty text; speakers from an `utt2spk` beside the file."""
    beside = path.parent / "utt2spk"
    speakers = read_utt2spk(beside) if beside.is_file() else {}
    utterances = []
    for number, line in iter_numbered_lines(path):
        name, _, text = line.strip().partition(" ") if "\t" not in line else line.strip().partition("\t")
        utterances.append(Utterance(name, text.strip(), number, speaker=speakers.get(name)))
    return TranscriptFile(path, "kaldi", require_utterances(path, utterances))


def read_utt2spk(path: Path) -> dict[str, str]:
    """Kaldi's utterance to speaker. Raises UserError for lines that are not two words."""
    if not path.is_file():
        raise UserError("no such file", where=str(path))
    problems = Problems(f"{path} is no utt2spk", fix="each line is: utterance-id speaker-id")
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
    """One utterance a line, the number of the line its id; an empty line is an empty text."""
    lines = read_nfc_text(path).split("\n")
    if lines and not lines[-1]:
        lines.pop()  # the end of the last line, not a line of its own
    utterances = [Utterance(str(n), line.strip(), n) for n, line in enumerate(lines, start=1)]
    return TranscriptFile(path, "lines", require_utterances(path, utterances))
