"""References in sclite's notation: counts by sclite (golden files) and by hand."""

import pytest
import sclite

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.notation import align_network, has_markup, parse_notation


def test_golden_notation():
    references, hypotheses, expected = sclite.read_golden("marked")
    options = ScoringOptions(normaliser="none", align="sclite", notation=True)
    assert score(references, hypotheses, options=options).words.tolist() == expected


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("a (uh) b", True),
        ("a fr-", True),
        ("-end", True),
        ("{ a / b }", True),
        ("a @ b", True),
        ("well-known -5 a(b) x@y", False),
        ("", False),
    ],
)
def test_markup(text, marked):
    assert has_markup(text) is marked


def align(reference, hypothesis, method="sclite"):
    return align_network(parse_notation(reference, str.lower), hypothesis.split(), method)


@pytest.mark.parametrize("method", ["sclite", "min"])
@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("{ a lot / alot } of", "alot of", [("=", "alot", "alot"), ("=", "of", "of")]),
        ("{ a / { b / c d } } e", "c d e", [("=", "c", "c"), ("=", "d", "d"), ("=", "e", "e")]),
        ("(UH) yes", "yes", [("=", "uh", ""), ("=", "yes", "yes")]),
        ("(uh) yes", "uh yes", [("=", "uh", "uh"), ("=", "yes", "yes")]),
        ("hel- -ld", "hello world", [("=", "hel", "hello"), ("=", "ld", "world")]),
        ("hello world", "hel- -ld", [("=", "hello", "hel-"), ("=", "world", "-ld")]),
        ("{ um / @ } yes", "yes", [("=", "yes", "yes")]),
        ("{ um / } yes", "yes", [("=", "yes", "yes")]),
        ("a b", "", [("D", "a", ""), ("D", "b", "")]),
        ("", "a", [("I", "", "a")]),
        ("a / b", "a / b", [("=", "a", "a"), ("=", "/", "/"), ("=", "b", "b")]),
    ],
)
def test_cheapest_path(reference, hypothesis, expected, method):
    assert align(reference, hypothesis, method) == expected


def test_nested_alternatives_become_a_network():
    network = parse_notation("x { a / { b / @ } } y", str)
    assert [arc.word for arc in network.arcs] == ["x", "a", "b", "@", "y"]
    assert [arc.predecessors for arc in network.arcs] == [(-1,), (0,), (0,), (0,), (1, 2, 3)] and network.last == (4,)


def test_words_between_markup_are_normalised_together():
    joined = parse_notation("twenty one (uh) two", lambda text: text.replace("twenty one", "21"))
    assert [arc.word for arc in joined.arcs] == ["21", "uh", "two"]


@pytest.mark.parametrize("text", ["{ a / b", "a }", "{ a { b }", "}"])
def test_braces_must_be_balanced(text):
    with pytest.raises(UserError, match=r"u7: .*without a"):
        parse_notation(text, str, where="u7")


def test_nesting_has_no_limit():
    depth = 3_000
    network = parse_notation("{ " * depth + "a" + " }" * depth, str)
    assert [arc.word for arc in network.arcs] == ["a"]
