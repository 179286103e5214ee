"""Scoring of texts: counts by hand and by jiwer, selected columns, empty texts, options, mistakes."""

import json

import jiwer
import pytest

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, score, scorer

KEYS = {
    "wer", "cer", "mer", "wil", "substitutions", "deletions", "insertions", "hits", "reference_words", "utterances",
    "by", "interval", "interval_over", "interval_units", "interval_method",
}  # fmt: skip
REFERENCES = ["Hello, world", "three four five", "nothing at all", "it’s fine"]
HYPOTHESES = ["hello world", "three for five six", "nothing", "it's mine"]


def small(**more):
    return score(REFERENCES, HYPOTHESES, ids=["a", "b", "c", "d"], **more)


def test_counts_by_hand():
    found = small().to_json()
    assert set(found) == KEYS
    assert (found["hits"], found["substitutions"], found["deletions"], found["insertions"]) == (6, 2, 2, 1)
    assert found["reference_words"] == 10 and found["utterances"] == 4
    assert found["wer"] == pytest.approx(0.5)
    assert found["by"] == {}
    json.dumps(found, allow_nan=False)


def test_cer_is_jiwers_on_normalised_texts():
    left = ["hello world", "three four five", "nothing at all", "it's fine"]
    assert small().cer == pytest.approx(jiwer.cer(left, HYPOTHESES))


def test_auto_takes_columns_of_2_to_200_values():
    n = 1005
    columns = {"one": ["x"] * n, "two": [str(i % 2) for i in range(n)], "many": [str(i % 200) for i in range(n)]}
    found = score(["a"] * n, ["a"] * n, columns={**columns, "more": [i % 201 for i in range(n)]}, by="auto")
    assert list(found.by) == ["two", "many"]


def test_speakers_are_a_column_of_the_breakdown():
    assert list(small(speakers=["s", "t", "s", "t"], by="auto").by) == ["speaker"]
    assert list(small(columns={"speaker": ["s", "t", "s", "t"]}, by="auto").by) == ["speaker"]


def test_a_column_that_is_lacking_is_a_warning():
    found = small(columns={"accent": ["a", "b", "a", "b"]}, by=["acent"])
    assert found.by == {}
    assert any("no column 'acent'" in w and "did you mean 'accent'" in w for w in found.warnings)


def test_no_reference_words_give_no_rate():
    found = score(["", "..."], ["a", "b c"])
    assert found.wer is None and found.to_json()["wer"] is None and found.to_json()["interval"] is None
    assert found.counts.insertions == 3
    assert any("no words" in w for w in found.warnings)
    assert "no WER" in found.summary()


def test_empty_references_count_insertions():
    found = score(["", "a b"], ["x y", "a b"])
    assert found.counts.insertions == 2 and found.wer == 1.0


def test_nothing_at_all():
    assert score([], []).to_json()["utterances"] == 0


def test_units():
    assert score(["ab c"], ["ab d"], options=ScoringOptions(unit="char")).counts.reference_words == 3
    mixed = score(["我爱 python"], ["我 python"], options=ScoringOptions(unit="mixed"))
    assert (mixed.counts.hits, mixed.counts.deletions) == (2, 1)
    assert mixed.get_tokens(0)[0] == ["我", "爱", "python"]


def test_compounds_by_choice():
    left, right = ["an ice cream", "icecream now", "well-known"], ["an icecream", "ice cream now", "well known"]
    assert score(left, right, options=ScoringOptions(compounds=True)).counts.errors == 0
    assert score(left, right).counts.errors > 0


def test_words_beside_notation_are_normalised_together():
    options = ScoringOptions(normaliser="english", notation=True)
    found = score(["{ a / the } twenty one (well) forty two"], ["the 21 42"], options=options)
    assert found.counts.errors == 0 and found.counts.hits == 4  # the word left out is right
    assert score(["{ um / uh } yes"], ["yes"], options=options).wer == 0


def test_a_function_normalises():
    found = score(["A"], ["a"], options=ScoringOptions(normaliser=str.lower))
    assert found.wer == 0 and found.options.normaliser_name == "lower"


def test_nfc_always():
    assert score(["caf\u00e9"], ["cafe\u0301"], options=ScoringOptions(normaliser="none")).wer == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"references": ["a"], "hypotheses": []}, "1 references but 0 hypotheses"),
        ({"references": ["a", "b"], "hypotheses": ["a", "b"], "ids": ["x", "x"]}, "duplicate id 'x'"),
        ({"references": ["a"], "hypotheses": [None]}, "of type NoneType, not a string"),
        ({"references": ["a"], "hypotheses": ["a"], "by": "accent"}, "neither 'auto' nor a list"),
        ({"references": ["a"], "hypotheses": ["a"], "speakers": ["x", "y"]}, "1 references but 2 speakers"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(UserError, match=message):
        score(**arguments)


@pytest.mark.parametrize(("reference", "message"), [("{ a", r"'\{' without a '\}'"), ("a }", r"'\}' without a '\{'")])
def test_braces_that_do_not_pair(reference, message):
    with pytest.raises(UserError, match=message):
        score([reference], ["a"], options=ScoringOptions(notation=True))


def test_chunks_do_not_change_the_counts(monkeypatch):
    options = ScoringOptions(notation=True)
    rows = [("{ a / b } c", "b"), ("x (y)", "x"), ("p q r", "p r s")] * 3
    references, hypotheses = ([row[side] for row in rows] for side in (0, 1))
    whole = score(references, hypotheses, options=options)
    monkeypatch.setattr(scorer, "_CHUNK", 2)
    chunked = score(references, hypotheses, options=options)
    assert whole.words.tolist() == chunked.words.tolist() == [[1, 0, 1, 0], [2, 0, 0, 0], [1, 2, 0, 0]] * 3
    assert whole.characters.tolist() == chunked.characters.tolist()


def test_an_utterance_of_an_unknown_speaker_is_a_speaker_of_its_own():
    found = score(["a", "b", "c"], ["a", "x", "c"], speakers=["s", None, "s"])
    assert found.speakers == ("s", "utterance 2", "s") and found.columns["speaker"] == ("s", "", "s")
    assert score(["a"], ["a"], speakers=[None]).speakers is None
