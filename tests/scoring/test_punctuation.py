"""Errors of punctuation and case, counted by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.scoring.punctuation import _split, count_punctuation_and_case
from speechxfer.scoring.terms import Occurrences


def marks_of(text):
    return [key[1:] for key, _ in _split(text) if key.startswith("\n")]


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("Hello, world. Really?! Yes; no: maybe...", [",", ".", "?", "!", ";", ":", "…"]),
        ("It’s 3.5 at 10:30 on example.com, o'clock well-known", [","]),
        ("“Quoted,” (bracketed) – dashed …", [",", "…"]),
        ("你好，世界。今天天气很好！", ["，", "。", "！"]),
        ("¿Qué? ¡Sí!", ["¿", "?", "¡", "!"]),
        ("कहाँ हो।", ["।"]),
        ("ماذا؟ نعم،", ["؟", "،"]),
        ("one , two .", [",", "."]),
        ("", []),
    ],
)
def test_marks_are_those_outside_words_and_numbers(text, marks):
    assert marks_of(text) == marks


def test_punctuation_by_hand():
    references = ["Hello, world. How are you?", "Fine, thanks."]
    hypotheses = ["hello world, how are you?", "fine thanks. And you."]
    found, _ = count_punctuation_and_case(references, hypotheses)
    # , deleted; . substituted by ,; ? correct | , deleted; . correct; . inserted
    assert (found.substitutions, found.deletions, found.insertions, found.total.correct) == (1, 2, 1, 2)
    assert found.errors == 4 and found.error_rate == 4 / 5
    assert found.marks == {
        ",": Occurrences(reference=2, hypothesis=1, correct=0),
        ".": Occurrences(reference=2, hypothesis=2, correct=1),
        "?": Occurrences(reference=1, hypothesis=1, correct=1),
    }
    entry = found.to_json()
    assert entry["reference_marks"] == 5 and entry["hits"] == 2 and entry["marks"]["."]["recall"] == 0.5
    json.dumps(entry, allow_nan=False)


def test_a_mark_against_a_word_is_a_deletion_or_an_insertion():
    found, _ = count_punctuation_and_case(["stop."], ["stop now"])
    assert (found.substitutions, found.deletions, found.insertions) == (0, 1, 0)
    found, _ = count_punctuation_and_case(["stop now"], ["stop."])
    assert (found.substitutions, found.deletions, found.insertions, found.error_rate) == (0, 0, 1, None)


def test_a_mark_stays_with_its_neighbour_if_a_word_is_lost():
    found, _ = count_punctuation_and_case(["Well, hello there."], ["Well, hello."])
    assert found.errors == 0 and found.total.correct == 2


def test_case_by_hand():
    _, found = count_punctuation_and_case(
        ["Ann met the NASA team in 2020.", "我 McDonald"], ["ann met The Nasa crew in 2020.", "我 Mcdonald"]
    )
    # words right without case: ann met the nasa in, mcdonald; 2020 and 我 have no case, team / crew is another word
    assert found.words == 6 and (found.missing, found.added) == (3, 1)
    assert found.error_rate == pytest.approx(4 / 6)
    assert found.to_json() == {
        "error_rate": pytest.approx(4 / 6), "errors": 4, "words": 6, "capitals_missing": 3, "capitals_added": 1,
    }  # fmt: skip


def test_apostrophes_and_quotes_are_not_case():
    marks, found = count_punctuation_and_case(["“It’s” fine"], ["It's fine"])
    assert found.errors == 0 and found.words == 2 and marks.errors == 0


def test_nothing_to_count():
    marks, case = count_punctuation_and_case(["你好"], ["你好"])
    assert marks.error_rate is None and case.error_rate is None
    marks, case = count_punctuation_and_case([], [])
    assert marks.to_json()["marks"] == {} and case.to_json()["words"] == 0


TEXTS = st.lists(st.sampled_from(["Hello", "hello", ",", ".", "it", "IT", "3.5"]), max_size=8).map(" ".join)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
def test_counts_add_up(pairs):
    references, hypotheses = [left for left, _ in pairs], [right for _, right in pairs]
    marks, case = count_punctuation_and_case(references, hypotheses)
    assert marks.total.reference == sum(len(marks_of(text)) for text in references)
    assert marks.total.hypothesis == sum(len(marks_of(text)) for text in hypotheses)
    assert min(marks.substitutions, marks.deletions, marks.insertions) >= 0 and case.errors <= case.words
    same, same_case = count_punctuation_and_case(references, references)
    assert same.errors == 0 and same_case.errors == 0
    lower, lower_case = count_punctuation_and_case(references, [text.lower() for text in references])
    assert lower.errors == 0 and lower_case.errors == sum(w in ("Hello", "IT") for r in references for w in r.split())
