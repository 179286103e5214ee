"""What went wrong, by hand."""

from collections import Counter

import pytest

from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.error_analysis import (
    analyse_errors,
    are_sides_swapped,
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
    insight = analyse_errors(found)
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


def test_words_with_the_highest_error_rates():
    references = ["rare cat dog"] * 4 + ["cat dog"] * 4 + ["dog"] * 12
    hypotheses = ["x cat dog"] * 4 + ["hat dog", "dog", "cat dog dog", "cat dog"] + ["dog"] * 9 + ["x"] * 3
    found = score(references, hypotheses)
    insight = analyse_errors(found)
    # 'rare' occurs four times only; cat: one substituted and one deleted of 8; dog: 3 of 20, the insertion is not its
    assert insight.words == [("cat", 2, 8), ("dog", 3, 20)]
    assert insight.to_json(found)["words"][0] == {"word": "cat", "error_rate": 0.25, "errors": 2, "occurrences": 8}


@pytest.mark.parametrize(
    "options", [{"normaliser": "english"}, {"unit": "char"}, {"notation": True}, {"compounds": True}]
)
def test_words_are_counted_as_they_are_aligned(options):
    references = ["Don't (uh) well-known", "it's twenty one", "{ a / b } Zoë ice cream"] * 5
    hypotheses = ["dont well known", "it's 21", "b zoe icecream"] * 5
    found = score(references, hypotheses, options=ScoringOptions(**options))
    wanted: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for words in found.get_alignments():
        for operation, reference, hypothesis in words:
            wanted[reference] += operation in "SD" or bool(reference and hypothesis)
            wrong[reference] += operation in "SD"
    insight = analyse_errors(found)
    assert {word: (errors, n) for word, errors, n in insight.words} == {
        word: (errors, wanted[word]) for word, errors in wrong.items() if errors and wanted[word] >= 5
    }


def test_bins_leave_out_columns_that_are_no_numbers():
    found = score(["a", "b"], ["a", "c"], columns={"duration": ["long", "short"], "snr": ["3", ""]})
    assert "duration" not in analyse_errors(found).bins


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
