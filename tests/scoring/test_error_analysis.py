"""What went wrong, by hand."""

import pytest

from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.error_analysis import (
    analyse_errors,
    are_sides_swapped,
    count_by_rule,
    find_input_warnings,
    has_repetition_loop,
)


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("no no no no no no no no", True),
        ("no no no no no no", False),
        ("thank you thank you thank you thank you", True),
        ("a b c a b c a b c d e f", False),
        ("x a b c a b c a b c a b c y", True),
        ("the cat sat on the mat and the dog sat on the rug", False),
        ("", False),
    ],
)
def test_repetition_loops(text, loops):
    assert has_repetition_loop(text.split()) is loops


def test_what_went_wrong():
    loop = "hey " + "you " * 12
    references = ["a b c", "a b d", "hey", "fine"]
    hypotheses = ["x b", "x b d e", loop, "fine"]
    found = score(references, hypotheses, columns={"duration": ["0.5", "3", "9", "1.5"]})
    insight = analyse_errors(found, found.get_alignments())
    assert insight.confusions[0] == ("a", "x", 2)
    assert insight.deleted == [("c", 1)]
    assert insight.inserted[0] == ("you", 12)
    assert insight.worst == [2, 0, 1] and insight.over_100_percent == [2] and insight.loops == [2]
    assert insight.counts_without_loops.errors == 4 and insight.counts_without_loops.reference_words == 7
    assert [label for label, _ in insight.bins["duration"]] == ["0 to 1 s", "1 to 2 s", "2 to 4 s", "8 to 16 s"]
    assert sum(c.utterances for _, c in insight.bins["words"]) == 4
    bins = insight.to_json(found)["bins"]["words"]
    assert sum(b["errors"] for b in bins) == found.counts.errors
    assert sum(b["reference_words"] for b in bins) == 8 and sum(b["utterances"] for b in bins) == 4
    assert set(insight.to_json(found)) >= {"worst", "confusions", "loops", "wer_without_loops"}


def test_bins_leave_out_columns_that_are_no_numbers():
    found = score(["a", "b"], ["a", "c"], columns={"duration": ["long", "short"], "snr": ["3", ""]})
    assert "duration" not in analyse_errors(found, found.get_alignments()).bins


def test_errors_each_rule_removed():
    found = score(["Hello, it’s me.", "same"], ["hello it's me", "same"])
    assert [(rule, counts.errors) for rule, counts in count_by_rule(found)] == [
        ("as written", 3), ("unicode", 3), ("case", 3), ("apostrophes and hyphens", 2), ("punctuation", 0),
    ]  # fmt: skip
    plain = score(["a"], ["a"], options=ScoringOptions(normaliser="none"))
    assert [rule for rule, _ in count_by_rule(plain)] == ["as written"]
    lower = score(["A"], ["a"], options=ScoringOptions(normaliser=str.lower))
    assert [c.errors for _, c in count_by_rule(lower)] == [1, 0]


@pytest.mark.parametrize("notation", [False, True])
def test_recounting_what_a_rule_changed_is_recounting_all(notation):
    rows = [("Twenty-one, (uh) it’s", "21 its"), ("Grey", "gray"), ("one { Two / 2 }", "1 2"), ("can't", "can not")]
    references, hypotheses = zip(*rows, strict=True)
    found = score(references, hypotheses, options=ScoringOptions(normaliser="english", notation=notation))
    for k, (_, counts) in enumerate(count_by_rule(found)):
        options = ScoringOptions(normaliser=found.options.normaliser.take_first(k), notation=notation)
        whole = score(references, hypotheses, options=options)
        assert counts == whole.counts


def test_swapped_sides():
    fine = [f"text number {i}" for i in range(10)]
    assert are_sides_swapped(score([""] * 3 + fine[3:], fine))
    assert not are_sides_swapped(score(fine, [""] * 3 + fine[3:]))


def test_suspicions():
    fine = [f"text number {i}" for i in range(10)]
    assert find_input_warnings(score(fine, [*fine[:9], "other"])) == []
    assert "identical to their references" in find_input_warnings(score(fine, fine))[0]
    marked = ["a { lot / alot } of", "b"]
    assert "--notation" in find_input_warnings(score(marked, ["a lot of", "c"]))[0]
    assert find_input_warnings(score(marked, ["a lot of", "c"], options=ScoringOptions(notation=True))) == []
    assert find_input_warnings(score(["either / or {x}"], ["either or"])) == []
    assert "--notation" in find_input_warnings(score(["a {lot/alot} of"], ["a lot of"]))[0]


@pytest.mark.parametrize(
    ("hypotheses", "expected"),
    [
        (["{ a / b }", "c"], "1 hypothesis contains braces as plain words (1)"),
        (["x", "a @ b"], "1 hypothesis contains the word @ as plain words (2)"),
        (["a;1", "b;2"], "2 hypotheses contain tags (word;tag) as plain words (1)"),
    ],
)
def test_markup_of_hypotheses_that_is_not_read(hypotheses, expected):
    (found,) = find_input_warnings(score(["a", "b"], hypotheses))
    assert found == f"{expected}: use --notation to read them as sclite does"
    assert find_input_warnings(score(["a", "b"], hypotheses, options=ScoringOptions(notation=True))) == []
