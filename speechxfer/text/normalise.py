"""Named, versioned normalisers: what is not counted as an error, written down rule by rule.

A normaliser is a short sequence of rules, each a function of a text. Applied to both sides of a comparison it makes
texts equal that differ only in writing. `default` is conservative: case, variants of one character, and punctuation
outside words. It never rewrites numbers, drops fillers, or strips marks (a Devanagari vowel sign is a mark).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from speechxfer.errors import UserError, suggest_nearest

_CACHE_SIZE = 200_000  # words remembered; normalising is word by word, and a corpus repeats its words


@dataclass(frozen=True)
class Rule:
    """One step of a normaliser, named for the report that says how many errors it removed."""

    name: str
    apply: Callable[[str], str] = field(compare=False)


@dataclass(frozen=True)
class Normaliser:
    """A callable str -> str: its rules in order, then single spaces between words.

    by_word: every rule looks at one word alone, so words may be remembered.
    """

    name: str
    version: str
    rules: tuple[Rule, ...]
    by_word: bool = True
    _seen: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, text: str) -> str:
        if not self.rules:
            return text
        if not self.by_word:
            return self._whole(text)
        seen = self._seen
        words = []
        for word in text.split():
            new = seen.get(word)
            if new is None:
                if len(seen) >= _CACHE_SIZE:
                    seen.clear()
                new = seen[word] = self._whole(word)
            if new:
                words.append(new)
        return " ".join(words)

    def _whole(self, text: str) -> str:
        for rule in self.rules:
            text = rule.apply(text)
        return " ".join(text.split())

    def take_first(self, count: int) -> Normaliser:
        """The same normaliser stopped after `count` rules, to measure what each rule does."""
        return Normaliser(f"{self.name}[:{count}]", self.version, self.rules[:count], self.by_word)


NORMALISER_NAMES = ("none", "basic", "default", "english")


def get_normaliser(name: str) -> Normaliser:
    """The normaliser of that name, or the rules of a GLM file (`*.glm`, NIST's global mapping).

    Raises UserError for an unknown name, with the nearest one.
    """
    if name == "none":
        return Normaliser("none", "1", ())
    if name == "basic":
        return Normaliser("basic", "1", _BASIC, by_word=False)
    if name == "default":
        return Normaliser("default", "1", DEFAULT_RULES)
    if name == "english":
        return Normaliser("english", "1", _english(), by_word=False)
    if Path(name).suffix.lower() == ".glm":
        from speechxfer.text.glm import read_glm

        mapping = read_glm(Path(name))
        version = hashlib.sha256(repr(mapping.rules).encode()).hexdigest()[:12]
        return Normaliser(name, version, (Rule("unicode", _unicode), Rule("GLM", mapping)), by_word=False)
    raise UserError(
        f"no normaliser named '{name}'{suggest_nearest(name, NORMALISER_NAMES)}",
        fix=f"one of {', '.join(NORMALISER_NAMES)}, or the path of a .glm file",
    )


# Characters that are one character to a reader. Left: what is written; right: what it becomes.
_APOSTROPHES = dict.fromkeys(map(ord, "’‘ʼʹ`´＇ꞌ‛"), "'")
_HYPHENS = dict.fromkeys(map(ord, "‐‑‒−﹣－"), "-")
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
_ONE_CHARACTER = {**_APOSTROPHES, **_HYPHENS}

_IN_WORDS = "'-._/·־׳״"  # may stand inside a word (o'clock, well-known, u.s, l·l), never at its edge
_MEANINGFUL = "%&@#§†‰"  # punctuation by Unicode's book, words when read aloud
_BETWEEN_DIGITS = re.compile(r"[,:](?!\d)|(?<!\d)[,:]")
_SIGN = re.compile(r"-?\.?(?=\d)")
_RUNS = re.compile(r"(?!-\.\d)[.\-]{2,}|…")


class _OuterPunctuation(dict[int, str]):
    """A `str.translate` table, filled as characters are met: punctuation that never stands inside a word is a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        outside = unicodedata.category(character).startswith("P") and character not in _IN_WORDS + _MEANINGFUL + ",:"
        self[code] = " " if outside else character
        return self[code]


class _AllPunctuation(dict[int, str]):
    """As above for `basic`: punctuation and symbols, all of them; marks stay."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = " " if unicodedata.category(character)[0] in "PS" else character
        return self[code]


_OUTER, _ALL = _OuterPunctuation(), _AllPunctuation()


def _unicode(text: str) -> str:
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE))


def _case(text: str) -> str:
    return unicodedata.normalize("NFC", text.lower())


def _variants(text: str) -> str:
    return text.translate(_ONE_CHARACTER)


def _edge(word: str) -> str:
    sign = _SIGN.match(word)  # a minus sign and a decimal point are part of their number
    return (sign[0] if sign else "") + word.strip(_IN_WORDS)


def remove_punctuation(text: str) -> str:
    """`text` without punctuation outside words."""
    text = _RUNS.sub(" ", _BETWEEN_DIGITS.sub(" ", text)).translate(_OUTER)
    return " ".join(filter(None, map(_edge, text.split())))


def _no_brackets(text: str) -> str:
    return re.sub(r"\[[^\]]*\]|\([^)]*\)|<[^>]*>", " ", text)


DEFAULT_RULES = (
    Rule("unicode", _unicode),
    Rule("case", _case),
    Rule("apostrophes and hyphens", _variants),
    Rule("punctuation", remove_punctuation),
)
_BASIC = (
    Rule("compatibility forms", lambda text: unicodedata.normalize("NFKC", text.translate(_INVISIBLE))),
    Rule("case", _case),
    Rule("bracketed text", _no_brackets),
    Rule("all punctuation", lambda text: text.translate(_ALL)),
)


def _english() -> tuple[Rule, ...]:
    from speechxfer.text import english
    from speechxfer.text.spelling import to_american

    return (
        Rule("unicode", _unicode),
        Rule("case", _case),
        Rule("apostrophes and hyphens", _variants),
        Rule("bracketed text", _no_brackets),
        Rule("symbols", english.expand_symbols),
        Rule("punctuation", remove_punctuation),
        Rule("contractions", english.expand_contractions),
        Rule("abbreviations", english.expand_abbreviations),
        Rule("fillers", english.remove_fillers),
        Rule("accents", english.strip_accents),
        Rule("spelling", to_american),
        Rule("numbers", english.convert_numbers),
    )
