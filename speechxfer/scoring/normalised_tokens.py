"""Normalising and splitting many texts at once, with each distinct word normalised once where that is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain

from speechxfer.scoring.tokens import tokenize
from speechxfer.text.normalise import Normaliser

_CACHE_SIZE = 200_000  # words kept with their normalised form


class WordForms(dict[str, str]):
    """Normalised form of each word (or text), added when it is first looked up.

    Attributes:
        irregular: normalised forms that are not one word.
    """

    def __init__(self, normalise: Callable[[str], str]) -> None:
        super().__init__()
        self.normalise = normalise
        self.irregular: set[str] = set()

    def __missing__(self, word: str) -> str:
        if len(self) >= _CACHE_SIZE:
            self.clear()
        form = self[word] = self.normalise(word)
        if not form or " " in form:
            self.irregular.add(form)
        return form


class TokenNormaliser:
    """Normalises texts and splits them into units.

    Args:
        normalise: a normaliser, or any function str -> str.
        unit: as in `tokenize`.
    """

    def __init__(self, normalise: Callable[[str], str], unit: str) -> None:
        self.normalise, self.unit = normalise, unit
        by_word = isinstance(normalise, Normaliser) and normalise.by_word and unit == "word"
        self._forms = WordForms(normalise) if by_word else None

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the units of each text. Equal words are mostly the same object, which makes comparisons fast."""
        if self._forms is None:
            return [tokenize(self.normalise(text), self.unit) for text in texts]
        forms, irregular = self._forms.__getitem__, self._forms.irregular
        found = []
        for text in texts:
            words = list(map(forms, text.split()))
            if irregular and not irregular.isdisjoint(words):
                words = " ".join(words).split()
            found.append(words)
        return found

    def count_words(self, texts: Sequence[str]) -> Counter[str]:
        """Return how often each unit occurs in the texts."""
        if self._forms is None:
            return Counter(chain.from_iterable(self.split(texts)))
        found: Counter[str] = Counter()
        for word, count in Counter(chain.from_iterable(map(str.split, texts))).items():
            for token in self._forms[word].split():
                found[token] += count
        return found
