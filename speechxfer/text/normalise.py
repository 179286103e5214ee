"""Named, versioned text normalisers, applied to both sides of a comparison so that differences in writing do not count.

A normaliser is a sequence of rules, each a function of a text. `default` is conservative: it removes timestamps and
other special tokens (`<|0.00|>`), unifies case and variants of a character, and removes punctuation outside words.
It never rewrites numbers, removes fillers or strips combining marks (a Devanagari vowel sign is one).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from speechxfer.registry import Registry
from speechxfer.text.characters import remove_invisible, to_lower, to_nfc
from speechxfer.text.timestamps import strip_special_tokens

Side = Literal["reference", "hypothesis"]

_CACHE_SIZE = 200_000  # words; a corpus repeats its words, so normalised words are cached


@dataclass(frozen=True)
class Rule:
    """One step of a normaliser; reports list by name how many errors each rule removes.

    Attributes:
        by_side: what scoring applies instead of `apply`, where references and hypotheses are treated differently.
        writes_notation: `by_side` writes sclite's notation, e.g. `{can not / cannot}`; `apply` never does.
    """

    name: str
    apply: Callable[[str], str] = field(compare=False)
    by_side: Mapping[Side, Callable[[str], str]] | None = field(default=None, compare=False)
    writes_notation: bool = False


@dataclass(frozen=True)
class Normaliser:
    """A callable str -> str that applies its rules in order and then separates words by single spaces.

    Attributes:
        by_word: every rule depends on a single word only, so that normalised words can be cached.
    """

    name: str
    version: str
    rules: tuple[Rule, ...]
    by_word: bool = True
    _cache: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, text: str) -> str:
        if not self.rules:
            return text
        if not self.by_word:
            return self._apply_rules(text)
        cache = self._cache
        words = []
        for word in text.split():
            new = cache.get(word)
            if new is None:
                if len(cache) >= _CACHE_SIZE:
                    cache.clear()
                new = cache[word] = self._apply_rules(word)
            if new:
                words.append(new)
        return " ".join(words)

    def _apply_rules(self, text: str) -> str:
        for rule in self.rules:
            text = rule.apply(text)
        return " ".join(text.split())

    def take_first(self, count: int) -> Normaliser:
        """Return a normaliser of the first `count` rules, to measure the effect of each rule."""
        return Normaliser(f"{self.name}[:{count}]", self.version, self.rules[:count], self.by_word)

    def for_side(self, side: Side) -> Normaliser:
        """Return the normaliser that scoring applies to one side; its texts may be in sclite's notation."""
        if all(rule.by_side is None for rule in self.rules):
            return self
        rules = [r if r.by_side is None else replace(r, apply=r.by_side[side], by_side=None) for r in self.rules]
        return Normaliser(self.name, self.version, tuple(rules), self.by_word)

    @property
    def writes_notation(self) -> bool:
        """Whether the texts of `for_side` may be in sclite's notation."""
        return any(rule.writes_notation for rule in self.rules)


NORMALISERS: Registry[Callable[[], Normaliser]] = Registry(
    "speechxfer.normalisers", "normaliser", fix="use one of {}, or the path of a .glm file"
)
NORMALISER_NAMES = ("none", "lower", "basic", "default", "english")  # built in; packages may add others


def get_normaliser(name: str) -> Normaliser:
    """Return the normaliser of a name, or one of the rules of a GLM file (`*.glm`, NIST's global mapping).

    Raises:
        UserError: for an unknown name.
    """
    if Path(name).suffix.lower() == ".glm":
        return _make_glm_normaliser(name)
    return NORMALISERS.get(name)()


# Variants of one character, and what they become
_APOSTROPHES = dict.fromkeys(map(ord, "’‘ʼʹ`´＇ꞌ‛"), "'")
_HYPHENS = dict.fromkeys(map(ord, "‐‑‒−﹣－"), "-")
_VARIANTS = {**_APOSTROPHES, **_HYPHENS}

_IN_WORDS = "'-._/·־׳״"  # kept inside a word (o'clock, well-known, u.s, l·l), removed at its edges
_MEANINGFUL = "%&@#§†‰"  # punctuation in Unicode, but spoken as words
_BETWEEN_DIGITS = re.compile(r"[,:](?!\d)|(?<!\d)[,:]")
_SIGN = re.compile(r"-?\.?(?=\d)")
_PUNCTUATION_RUNS = re.compile(r"(?!-\.\d)[.\-]{2,}|…")


class _OuterPunctuation(dict[int, str]):
    """A lazily filled `str.translate` table that replaces punctuation that never occurs inside words by spaces."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        outside = unicodedata.category(character).startswith("P") and character not in _IN_WORDS + _MEANINGFUL + ",:"
        self[code] = " " if outside else character
        return self[code]


class _AllPunctuation(dict[int, str]):
    """A lazily filled `str.translate` table that replaces all punctuation and symbols by spaces; marks are kept."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = " " if unicodedata.category(character)[0] in "PS" else character
        return self[code]


_OUTER, _ALL = _OuterPunctuation(), _AllPunctuation()


def _unify_variants(text: str) -> str:
    return text.translate(_VARIANTS)


def _strip_edges(word: str) -> str:
    sign = _SIGN.match(word)  # a minus sign and a decimal point are part of their number
    return (sign[0] if sign else "") + word.strip(_IN_WORDS)


def remove_punctuation(text: str) -> str:
    """Remove punctuation outside words and numbers."""
    text = _PUNCTUATION_RUNS.sub(" ", _BETWEEN_DIGITS.sub(" ", text)).translate(_OUTER)
    return " ".join(filter(None, map(_strip_edges, text.split())))


def _remove_brackets(text: str) -> str:
    return re.sub(r"\[[^\]]*\]|\([^)]*\)|<[^>]*>", " ", text)


_LOWER_RULES = (Rule("unicode", to_nfc), Rule("case", to_lower))
DEFAULT_RULES = (
    Rule("special tokens", strip_special_tokens),
    *_LOWER_RULES,
    Rule("apostrophes and hyphens", _unify_variants),
    Rule("punctuation", remove_punctuation),
)
_BASIC = (
    Rule("compatibility forms", lambda text: unicodedata.normalize("NFKC", remove_invisible(text))),
    Rule("case", to_lower),
    Rule("bracketed text", _remove_brackets),
    Rule("all punctuation", lambda text: text.translate(_ALL)),
)


@NORMALISERS.register("none")
def _make_none() -> Normaliser:
    return Normaliser("none", "1", ())


@NORMALISERS.register("lower")
def _make_lower() -> Normaliser:
    return Normaliser("lower", "1", _LOWER_RULES)


@NORMALISERS.register("basic")
def _make_basic() -> Normaliser:
    return Normaliser("basic", "2", _BASIC, by_word=False)


@NORMALISERS.register("default")
def _make_default() -> Normaliser:
    return Normaliser("default", "3", DEFAULT_RULES)


@NORMALISERS.register("english")
def _make_english() -> Normaliser:
    from speechxfer.text import english
    from speechxfer.text.spelling import to_american

    rules = (
        *_LOWER_RULES,
        Rule("apostrophes and hyphens", _unify_variants),
        Rule("bracketed text", _remove_brackets),
        Rule("symbols", english.expand_symbols),
        Rule("punctuation", remove_punctuation),
        Rule("contractions", english.expand_contractions),
        Rule("abbreviations", english.expand_abbreviations),
        Rule("fillers", english.remove_fillers),
        Rule("accents", english.strip_accents),
        Rule("spelling", to_american),
        Rule("numbers", english.convert_numbers),
    )
    return Normaliser("english", "2", rules, by_word=False)


def _make_glm_normaliser(name: str) -> Normaliser:
    from speechxfer.text.glm import read_glm, take_first_alternatives

    file = read_glm(Path(name))
    reference, hypothesis = file.make_mapping("reference"), file.make_mapping("hypothesis")
    rule = Rule(
        "GLM",
        lambda text: take_first_alternatives(reference(text)),
        by_side={"reference": reference, "hypothesis": hypothesis},
        writes_notation=file.writes_notation,
    )
    version = hashlib.sha256(repr(file).encode()).hexdigest()[:12]
    return Normaliser(name, version, (Rule("unicode", to_nfc), rule), by_word=False)
