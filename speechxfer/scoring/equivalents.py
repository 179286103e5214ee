"""Words and phrases that count as equal (`Ann = Anne`), replaced by the first of their line on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from speechxfer.errors import Problems
from speechxfer.scoring.formats.transcript import iter_numbered_lines

Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Equivalents:
    """Groups of equal words or phrases, as written in a file.

    Attributes:
        name: shown in reports, e.g. the path of the file.
        groups: the phrases of each line; (line number, phrases).
    """

    name: str
    groups: tuple[tuple[int, tuple[str, ...]], ...]

    @property
    def version(self) -> str:
        """Fingerprint of the groups."""
        return hashlib.sha256(repr([phrases for _, phrases in self.groups]).encode()).hexdigest()[:12]


def read_equivalents(path: Path) -> Equivalents:
    """Read lines of `word = word` or `phrase = phrase = ...`; lines that start with `#` are comments.

    Raises:
        UserError: naming the lines that do not have two phrases or more.
    """
    problems = Problems(f"{path} is not a list of equivalents", fix="write one group a line: Ann = Anne")
    groups = []
    for number, line in iter_numbered_lines(path):
        if line.lstrip().startswith("#"):
            continue
        phrases = tuple(part.strip() for part in line.split("="))
        if len(phrases) < 2 or not all(phrases):
            problems.add(f"line {number}: '{line.strip()}'")
        groups.append((number, phrases))
    problems.raise_if_any()
    return Equivalents(str(path), tuple(groups))


@dataclass(frozen=True)
class EquivalentsReplacer:
    """Replaces each phrase of a normalised text by the first of its group. Of phrases that overlap, the one that starts
    first is replaced, and of those the longest.

    Attributes:
        longest: words of the longest phrase that starts with a word, by that word.
        replacements: phrase to the first phrase of its group.
    """

    longest: dict[str, int] = field(default_factory=dict)
    replacements: dict[Phrase, Phrase] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        words = text.split()
        if self.longest.keys().isdisjoint(words):
            return text
        found: list[str] = []
        i = 0
        while i < len(words):
            for width in range(self.longest.get(words[i], 0), 0, -1):
                first = self.replacements.get(tuple(words[i : i + width]))
                if first is not None:
                    found += first
                    i += width
                    break
            else:
                found.append(words[i])
                i += 1
        return " ".join(found)


def make_replacer(equivalents: Equivalents, normalise: Callable[[str], str]) -> EquivalentsReplacer:
    """Make the replacer for normalised texts; the phrases are normalised in the same way.

    Raises:
        UserError: for phrases without a word after normalisation, and phrases of two groups.
    """
    problems = Problems(f"{equivalents.name} cannot be used", fix="write all equivalents of a phrase on one line")
    replacer = EquivalentsReplacer()
    lines: dict[Phrase, int] = {}
    for number, phrases in equivalents.groups:
        normalised = [tuple(normalise(phrase).split()) for phrase in phrases]
        for phrase, words in zip(phrases, normalised, strict=True):
            if not words:
                problems.add(f"line {number}: '{phrase}' has no words after normalisation")
            elif lines.setdefault(words, number) != number:
                problems.add(f"line {number}: '{phrase}' is also on line {lines[words]}")
            else:
                replacer.longest[words[0]] = max(replacer.longest.get(words[0], 0), len(words))
                replacer.replacements[words] = normalised[0]
    problems.raise_if_any()
    return replacer
