"""Texts that are normalised word by word have the units of texts that are normalised as a whole."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.scoring import normalised_tokens
from speechxfer.scoring.normalised_tokens import TokenNormaliser, WordForms
from speechxfer.scoring.tokens import tokenize
from speechxfer.text.normalise import get_normaliser

# words that a normaliser removes, splits, or leaves
TEXTS = st.lists(st.sampled_from(["One", "two,", "...", "well-known", "isn't", "Ärger", "-", "six"]), max_size=6)


@pytest.mark.parametrize("name", ["none", "lower", "basic", "default", "english"])
@pytest.mark.parametrize("unit", ["word", "char"])
@given(texts=st.lists(TEXTS.map(" ".join), max_size=4))
def test_units_are_those_of_the_whole_text(name: str, unit: str, texts: list[str]) -> None:
    normalise = get_normaliser(name)
    tokens = TokenNormaliser(normalise, unit)
    truth = [tokenize(normalise(text), unit) for text in texts]
    assert tokens.split(texts) == truth
    assert tokens.split(texts) == truth  # from the words kept
    assert tokens.count_words(texts) == Counter(chain.from_iterable(truth))


def test_any_function_normalises_the_whole_text() -> None:
    tokens = TokenNormaliser(lambda text: text.replace("ice cream", "icecream"), "word")
    assert tokens.split(["an ice cream"]) == [["an", "icecream"]]
    assert tokens.count_words(["an ice cream", "an"]) == {"an": 2, "icecream": 1}


def test_each_word_is_normalised_once_and_no_more_are_kept_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    forms = WordForms(lambda word: asked.append(word) or word.strip(".").lower())
    assert [forms[word] for word in ("A", "A", "b.", "..")] == ["a", "a", "b", ""]
    assert asked == ["A", "b.", ".."] and forms.irregular == {""}
    monkeypatch.setattr(normalised_tokens, "_CACHE_SIZE", 3)
    assert forms["c"] == "c" and set(forms) == {"c"}
