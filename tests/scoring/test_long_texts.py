"""Edit distances within a limit of errors."""

import random

import pytest
from rapidfuzz.distance import Levenshtein

from speechxfer.errors import UserError
from speechxfer.scoring import alignment, long_texts, score
from speechxfer.scoring.long_texts import find_distance


@pytest.mark.parametrize("limit", [1, 3, 1024])
def test_the_limit_does_not_change_the_distance(monkeypatch, limit):
    monkeypatch.setattr(long_texts, "_FIRST_LIMIT", limit)
    rng = random.Random(limit)
    for _ in range(50):
        pair = [[rng.choice(["ab", "c"]) for _ in range(rng.randint(0, 60))] for _ in range(2)]
        assert find_distance(*pair, "x", "words") == Levenshtein.distance(*pair)


def test_words_of_long_texts(monkeypatch):
    """The numbers of hits and of errors are the same; ties may be broken differently."""
    rng = random.Random(1)
    reference = [rng.choice("abcdefgh") for _ in range(900)]
    hypothesis = [rng.choice("abcdefgh") if rng.random() < 0.3 else word for word in reference if rng.random() > 0.1]
    before = alignment.count_operations([reference], [hypothesis])[0]
    monkeypatch.setattr(alignment, "_MIN_LONG_CELLS", 0)
    after = alignment.count_operations([reference], [hypothesis])[0]
    assert before[1:].sum() == after[1:].sum() and after[:3].sum() == 900
    monkeypatch.setattr(long_texts, "_MAX_CELLS", 10_000)
    with pytest.raises(UserError, match=r"an utterance: a text of 900 words with more than \d+ errors takes too long"):
        alignment.count_operations([reference], [hypothesis])


def test_texts_over_a_million_characters_are_refused_before_the_work():
    half = "word " * 100_000
    with pytest.raises(UserError, match=r"utterance 'b': a text of 1,000,010 characters is too long .* 1,000,000"):
        score(["x", "word " * 200_000 + "some words"], ["x", half + "other " + half], ids=["a", "b"])
    assert score([half], [half]).wer == 0
