"""Occurrences of listed words and phrases, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.equivalents import Equivalents
from speechxfer.scoring.terms import Occurrences, count_terms, read_terms


def count(references, hypotheses, *terms, **options):
    chosen = ScoringOptions(**options)
    phrases = {term: tuple(chosen.normalise(term).split()) for term in terms}
    return count_terms(score(references, hypotheses, options=chosen), phrases)


def test_recall_precision_and_f1_by_hand():
    references = ["We met Ann in New York", "Ann left", "new york is new"]
    hypotheses = ["we met ann in new work", "an left ann", "new york is new york"]
    found = count(references, hypotheses, "Ann", "New York")
    # Ann: 2 spoken, 1 recognised ('an' is wrong, the 'ann' after 'left' is inserted); New York: 2 spoken, 1 recognised
    assert found.terms == {"Ann": Occurrences(2, 2, 1), "New York": Occurrences(2, 2, 1)}
    assert found.total == Occurrences(4, 4, 2)
    assert (found.total.recall, found.total.precision, found.total.f1) == (0.5, 0.5, 0.5)
    assert found.total.error_rate == 1.0  # 2 missed and 2 inserted, of 4
    assert found.to_json()["terms"]["Ann"] == {
        "reference": 2, "hypothesis": 2, "correct": 1, "error_rate": 1.0, "recall": 0.5, "precision": 0.5, "f1": 0.5,
    }  # fmt: skip


def test_a_phrase_with_an_insertion_inside_is_not_correct():
    assert count(["in new york"], ["in new old york"], "new york").total == Occurrences(1, 0, 0)
    assert count(["in new york"], ["in york"], "new york").total == Occurrences(1, 0, 0)


def test_overlapping_terms_are_counted_each():
    found = count(["new york city a a a"], ["new york city a a a"], "new york", "york city", "a a")
    assert list(found.terms.values()) == [Occurrences(1, 1, 1), Occurrences(1, 1, 1), Occurrences(2, 2, 2)]


def test_optional_words_left_out_do_not_occur():
    assert count(["(uh) yes"], ["yes"], "uh", notation=True).total == Occurrences(0, 0, 0)
    assert count(["(uh) yes"], ["uh yes"], "uh", notation=True).total == Occurrences(1, 1, 1)


def test_without_occurrences_there_are_no_rates():
    found = count(["a"], ["a"], "b").total
    assert (found.recall, found.precision, found.f1, found.error_rate) == (None, None, None, None)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=8).map(" ".join), min_size=1, max_size=4))
def test_equal_texts_have_every_occurrence(texts):
    found = count(texts, texts, "a", "a b").total
    assert found.reference == found.hypothesis == found.correct
    assert count(texts, ["x"] * len(texts), "a", "a b").total.correct == 0


def test_terms_are_compared_after_equivalents(tmp_path):
    (tmp_path / "terms.txt").write_text("Anne\n")
    options = ScoringOptions(equivalents=Equivalents("list", ((1, ("Ann", "Anne")),)))
    terms = read_terms(tmp_path / "terms.txt", options)
    assert terms == {"Anne": ("ann",)}
    assert count_terms(score(["Anne ran"], ["ann ran"], options=options), terms).total == Occurrences(1, 1, 1)


def test_a_list_of_terms(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_text("# places\nNew York\n\nBoston\nNEW york\n")
    assert read_terms(path, ScoringOptions()) == {"New York": ("new", "york"), "Boston": ("boston",)}
    assert read_terms(path, ScoringOptions(unit="char"))["Boston"] == tuple("boston")
    for text, message in {"# none\n": "it has no terms", "a\n...\n": "line 2: '...' has no words"}.items():
        path.write_text(text)
        with pytest.raises(UserError, match=message.replace(".", r"\.")):
            read_terms(path, ScoringOptions())
