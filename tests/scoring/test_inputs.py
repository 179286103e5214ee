"""What `score` accepts as texts: one string, iterables in one order, mappings that meet by key; and what it refuses."""

from pathlib import Path
from types import SimpleNamespace

import jiwer
import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.scoring import score
from speechxfer.scoring.inputs import pair_texts

WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(" ".join)


def test_a_string_is_one_utterance():
    found = score("the cat sat on it", "the cat sit on it")
    assert (found.wer, found.counts.reference_words, found.ids) == (
        jiwer.wer("the cat sat on it", "the cat sit on it"),
        5,
        ("1",),
    )
    assert score("", "a").counts.insertions == 1


def test_mappings_meet_by_key_in_the_order_of_the_references():
    found = score(
        {"u1": "one two", 2: "three"}, {2: "tree", "u1": "one two"},
        speakers={2: "ann", "u1": "bob"}, columns={"room": {"u1": "x"}, "day": ["mon", "tue"]},
    )  # fmt: skip
    assert found.ids == ("u1", "2") and found.hypotheses == ("one two", "tree")
    assert found.counts.substitutions == 1 and found.speakers == ("bob", "ann")
    assert found.columns["room"] == ("x", "") and found.columns["day"] == ("mon", "tue")


@given(st.dictionaries(st.integers(0, 9), st.tuples(WORDS, WORDS), min_size=1), st.randoms())
def test_mappings_give_the_counts_of_lists_whatever_their_order(pairs, random):
    keys = list(pairs)
    random.shuffle(keys)
    by_key = score({key: pair[0] for key, pair in pairs.items()}, {key: pairs[key][1] for key in keys})
    assert by_key.counts == score(*zip(*pairs.values(), strict=True)).counts
    assert by_key.wer == pytest.approx(jiwer.wer(*map(list, zip(*pairs.values(), strict=True))))


def test_missing_hypotheses_are_an_error_unless_chosen():
    references, hypotheses = {"a": "x y", "b": "z", "c": "w"}, {"a": "x y", "c": None}
    with pytest.raises(UserError, match=r"2 of 3 utterances have no hypothesis: b, c\n  fix: set missing='empty'"):
        score(references, hypotheses)
    empty = score(references, hypotheses, missing="empty", speakers=["s", "t", "u"])
    assert empty.counts.deletions == 2 and empty.ids == ("a", "b", "c")
    assert "2 utterances without a hypothesis scored as empty: b, c" in empty.warnings
    skipped = score(references, hypotheses, missing="skip", speakers=["s", "t", "u"], columns={"n": iter("123")})
    assert skipped.ids == ("a",) and skipped.speakers == ("s",) and skipped.columns["n"] == ("1",)
    with pytest.raises(UserError, match="use one of error, empty, skip"):
        score(references, hypotheses, missing="drop")


def test_hypotheses_without_a_reference_are_named():
    with pytest.raises(UserError, match=r"not in the references: x0, .*, x9 and 2 more"):
        score({"a": "b"}, {"a": "b", **{f"x{i}": "b" for i in range(12)}})


def test_iterators_are_read():
    found = score((text for text in ["a b", "c"]), iter(["a b", "d"]), ids=iter("pq"), speakers=(s for s in "st"))
    assert found.ids == ("p", "q") and found.counts.errors == 1 and found.speakers == ("s", "t")


def test_series_and_arrays_are_sequences():
    frame = pandas.DataFrame({"text": ["a b", "c"], "said": ["a x", "c"], "who": ["s", "t"]}, index=[7, 9])
    found = score(frame["text"], frame["said"], speakers=frame["who"], columns={"who": frame["who"]}, ids=frame.index)
    assert found.counts.substitutions == 1 and found.ids == ("7", "9")
    assert score(np.array(["a b"]), np.array(["a b"])).wer == 0


class Frame(SimpleNamespace):
    """A table that iterates over the names of its columns, as a pandas data frame."""

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ({"a", "b"}, {"a", "b"}, "references is a set, which has no order"),
        (["a"], frozenset("a"), "hypotheses is a set"),
        ({"u": "a"}, ["a"], "references is a mapping and hypotheses is not"),
        ("a", {"u": "a"}, "hypotheses is a mapping and references is not"),
        (Frame(columns=["text"]), Frame(columns=["text"]), "references is a table of type Frame"),
        (pandas.DataFrame({"text": ["a"]}), ["a"], "is a table of type DataFrame"),
        (Path("ref.trn"), Path("hyp.trn"), "references is of type PosixPath, not a list"),
        (b"a b", b"a b", "references is of type bytes, not a list"),
        (["a", "b"], "a", "2 references but 1 hypotheses"),
        ([["a", "b"]], [["a", "b"]], "references[0] is of type list, not a string"),
        ({"u": None}, {"u": "a"}, "references['u'] is of type NoneType, not a string"),
        ({"u": "a"}, {"u": 3}, "hypotheses['u'] is of type int, not a string"),
        ({1: "a", "1": "b"}, {1: "a", "1": "b"}, "duplicate id '1'"),
    ],
)
def test_what_is_refused(references, hypotheses, message):
    with pytest.raises(UserError) as raised:
        score(references, hypotheses)
    assert message in str(raised.value)


def test_ids_and_values_that_do_not_fit():
    with pytest.raises(UserError, match="ids are given twice"):
        score({"u": "a"}, {"u": "a"}, ids=["u"])
    with pytest.raises(UserError, match="speakers is a mapping, but the texts have no keys"):
        score(["a"], ["a"], speakers={"1": "ann"})
    with pytest.raises(UserError, match="speakers is of type str"):
        score(["a"], ["a"], speakers="a")
    with pytest.raises(UserError, match="2 references but 1 ids"):
        score(["a", "b"], ["a", "b"], ids=["x"])


def test_texts_are_composed():
    assert pair_texts(["cafe\u0301"], ["caf\u00e9"]).references == ("caf\u00e9",)
