"""Exchange with jiwer, against jiwer's own results."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, score

WORDS = st.lists(st.sampled_from(["one", "two", "six", "ten"]), min_size=1, max_size=9).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_it_is_what_jiwer_finds(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = map(list, zip(*pairs, strict=True))
    truth = jiwer.process_words(references, hypotheses)
    found = score(references, hypotheses).to_jiwer()
    for name in ("references", "hypotheses", "hits", "substitutions", "deletions", "insertions"):
        assert getattr(found, name) == getattr(truth, name)
    for name in ("wer", "mer", "wil", "wip"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name))


def test_jiwer_shows_the_alignment() -> None:
    pair = ["one two six ten"], ["one six ten four"]
    found, truth = score(*pair).to_jiwer(), jiwer.process_words(*pair)
    assert found.alignments == truth.alignments and len(found.alignments[0]) == 4
    assert jiwer.visualize_alignment(found) == jiwer.visualize_alignment(truth)


def test_no_words_and_no_notation() -> None:
    empty = score([""], [""]).to_jiwer()
    assert (empty.wer, empty.mer, empty.hits) == (0, 0, 0)
    with pytest.raises(UserError, match="jiwer has no alternatives"):
        score(["{ a / b }"], ["a"], options=ScoringOptions(notation=True)).to_jiwer()


@pytest.mark.parametrize("last", [[], [jiwer.ReduceToListOfListOfWords()]])
def test_a_transform_is_a_normaliser(last: list) -> None:
    transform = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.Strip(), *last])
    options = ScoringOptions(normaliser=transform)
    assert score(["One, two!"], ["one two"], options=options).wer == 0
    assert options.normaliser_name == "jiwer.Compose"
    assert score(["One, two!"], ["one two"], options=ScoringOptions(normaliser="none")).wer == 1
