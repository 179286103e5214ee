"""Texts in sclite's notation as networks of words."""

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.networks import Network, State
from speechxfer.scoring.notation import Notation, find_unread_markup


@pytest.mark.parametrize(
    ("text", "full", "alternatives", "characters"),
    [
        ("a (uh) b", True, False, True),
        ("a fr-", True, False, False),
        ("-end", True, False, False),
        ("{ a / b }", True, True, True),
        ("x{a/b}", True, True, True),
        ("a @ b", True, True, True),
        ("word;tag", True, True, True),
        ("well-known -5 a(b) x@y ;", False, False, False),
        ("", False, False, False),
    ],
)
def test_markup(text, full, alternatives, characters):
    assert Notation().has_markup(text) is full
    assert Notation(optional_words=False, fragments=False).has_markup(text) is alternatives
    assert Notation(unit="char").has_markup(text) is characters


def words(network):
    return [(state.word, state.before) for state in network.states], network.last


@pytest.mark.parametrize("text", ["x { a / { b / @ } } y", "x {a/{b/@}} y", "x{a/{b/@}}y", "x {{b/@}/a} y"])
def test_nested_alternatives_become_a_network(text):
    found = Notation().parse(text, str)
    inner = [("b", (0,)), ("@", (0,)), (None, (1, 2))]
    if "{{" in text:
        expected = [("x", (-1,)), *inner, ("a", (0,)), (None, (3, 4)), ("y", (5,))]
    else:
        inner = [("b", (0,)), ("@", (0,)), (None, (2, 3))]
        expected = [("x", (-1,)), ("a", (0,)), *inner, (None, (1, 4)), ("y", (5,))]
    assert words(found) == (expected, 6)


def test_the_plain_network():
    assert words(Network.from_words(["a", "b"])) == ([("a", (-1,)), ("b", (0,))], 1)
    assert words(Notation().parse("a b", str)) == words(Network.from_words(["a", "b"]))
    assert words(Notation().parse("", str)) == ([], -1)
    assert words(Notation().parse("{ a } b", str)) == ([("a", (-1,)), ("b", (0,))], 1)


def test_words_between_markup_are_normalised_together():
    joined = Notation().parse("twenty one (uh) two", lambda text: text.replace("twenty one", "21"))
    assert [state.word for state in joined.states] == ["21", "uh", "two"]


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        (Notation(), [("UH", True, ""), ("he", False, "start"), ("lo", False, "end"), ("x", True, "start")]),
        (Notation(fragments=False), [("UH", True, ""), ("he-", False, ""), ("-lo", False, ""), ("x-", True, "")]),
        (Notation(optional_words=False), [("(UH)", False, ""), ("he", False, "start"), ("lo", False, "end"),
                                          ("(x-)", False, "")]),
        (Notation(unit="char"), [("U", True, ""), ("H", True, ""), *[(c, False, "") for c in "he--lo"],
                                 ("x", True, ""), ("-", True, "")]),
    ],
)  # fmt: skip
def test_optional_words_and_fragments_by_choice(notation, expected):
    found = notation.parse("(UH) he- -lo (x-)", str).states
    assert [(state.word, state.is_optional, state.fragment) for state in found] == expected


def test_units():
    text = "{ 我爱 python / @ } ok (你好)"
    mixed = Notation(unit="mixed").parse(text, str).states
    assert [s.word for s in mixed] == ["我", "爱", "python", "@", None, "ok", "你", "好"]
    assert [s.is_optional for s in mixed][-3:] == [False, True, True]
    assert [s.word for s in Notation(unit="char").parse("{ab/@} c", str).states] == ["a", "b", "@", None, "c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello;N world;V;x", ["hello", "world"]),
        (r"and\;or ; ;x", ["and;or", ";", ";x"]),
        ("{ a;1 / b;2 } c;", ["a", "b", None, "c"]),
    ],
)
def test_tags_are_left_out(text, expected):
    assert [state.word for state in Notation().parse(text, str).states] == expected


def test_what_a_normaliser_writes_in_the_notation():
    def expand(text):
        return text.replace("can't", "{can not / cannot}").replace("uh", "(%hesitation)").replace("um", "@")

    def read(text, **options):
        return [s.word for s in Notation(**options).parse(text, expand, writes_notation=True).states]

    assert read("i can't go") == ["i", "can", "not", "cannot", None, "go"]
    assert read("{ can't / won't }") == ["can", "not", "cannot", None, "won't", None]
    assert read("um uh", optional_words=False) == ["@", "(%hesitation)"]
    assert read("(uh) (can't) (um)") == ["(%hesitation)", "can", "not"]
    assert [s.word for s in Notation().parse("can't", expand).states] == ["{can", "not", "/", "cannot}"]


@pytest.mark.parametrize("text", ["{ a / b", "a }", "{ a { b }", "}", "{a/b", "a}{"])
def test_braces_must_be_balanced(text):
    with pytest.raises(UserError, match=r"u7: .*without a"):
        Notation().parse(text, str, where="u7")


def test_nesting_has_no_limit():
    depth = 20_000
    network = Notation().parse("{ " * depth + "a" + " }" * depth, str)
    assert [state.word for state in network.states] == ["a"]
    network = Notation().parse("{ b / " * depth + "a" + " }" * depth, str)
    assert len(network.states) == 2 * depth + 1


def test_written_words():
    assert [State("a", (-1,), fragment=f).written for f in ("", "start", "end")] == ["a", "a-", "-a"]
    assert State(None, (0, 1)).written == ""


def test_markup_that_is_not_read():
    texts = ["{ a / b }", "a @ b", "word;tag", "plain x@y a; ; (uh) fr-", "{x"]
    assert dict(find_unread_markup(texts, "12345")) == {
        "braces": ["1", "5"],
        "the word @": ["2"],
        "tags (word;tag)": ["3"],
    }
