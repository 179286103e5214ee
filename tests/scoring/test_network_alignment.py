"""Alignment of networks: counts by sclite (golden files), by a plain table in sclite's order, and by hand."""

import random

import numpy as np
import pytest
import sclite
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, alignment, network_alignment, score
from speechxfer.scoring.network_alignment import align_networks, is_match
from speechxfer.scoring.networks import Network
from speechxfer.scoring.notation import Notation

METHODS = ["sclite", "min"]


def test_golden_notation():
    references, hypotheses, expected = sclite.read_golden("marked")
    options = ScoringOptions(normaliser="none", align="sclite", notation=True)
    assert score(references, hypotheses, options=options).words.tolist() == expected


def align(reference, hypothesis, method="sclite", notation=None):
    notation = notation or Notation()
    return align_networks(notation.parse(reference, str.lower), notation.parse(hypothesis, str.lower), method)


@pytest.mark.parametrize("method", METHODS)
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
        ("", "", []),
        ("a / b", "a / b", [("=", "a", "a"), ("=", "/", "/"), ("=", "b", "b")]),
        # glued slashes
        ("{a/b} c", "a c", [("=", "a", "a"), ("=", "c", "c")]),
        ("{ a /@ } c", "c", [("=", "c", "c")]),
        # the hypothesis in the notation
        ("he is here", "{ he has / he is } here", [("=", "he", "he"), ("=", "is", "is"), ("=", "here", "here")]),
        ("yes", "{ um / @ } yes", [("=", "yes", "yes")]),
        ("yes", "(uh) yes", [("=", "", "uh"), ("=", "yes", "yes")]),
        ("{ a / b } c", "{ d / b } { c / e }", [("=", "b", "b"), ("=", "c", "c")]),
        ("{ a / b }", "{ c / d }", [("S", "a", "c")]),
        ("hel- x", "hel- y", [("=", "hel", "hel-"), ("S", "x", "y")]),
    ],
)
def test_cheapest_path(reference, hypothesis, expected, method):
    assert align(reference, hypothesis, method) == expected


def test_characters_of_alternatives():
    """As `sclite -c`: each word of the network becomes its characters."""
    notation = Notation(unit="char")
    found = align("{ abc / xy } d (e)", "xzd", "sclite", notation)
    assert found == [("=", "x", "x"), ("S", "y", "z"), ("=", "d", "d"), ("=", "e", "")]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "matches"),
    [
        ("hello", "hello", True), ("hel-", "hello", True), ("-llo", "hello", True), ("hello", "hel-", True),
        ("hello", "-llo", True), ("hel-", "help-", True), ("help-", "hel-", False), ("hel-", "-llo", False),
        ("hello", "hell", False), ("-llo", "hel-", False),
    ],
)  # fmt: skip
def test_fragments_are_compared_as_by_sclite(reference, hypothesis, matches):
    states = [Notation().parse(text, str).states[0] for text in (reference, hypothesis)]
    assert is_match(*states) is matches
    assert [operation for operation, _, _ in align(reference, hypothesis)] == ["=" if matches else "S"]


def list_arcs(network):
    """Words of a network with the words before each (0 is the start), and the words that may end it, as sclite has."""
    numbers, words = {-1: [0]}, [None]
    before = [[]]
    for i, state in enumerate(network.states):
        ends = [number for b in state.before for number in numbers[b]]
        if state.word is None:
            numbers[i] = ends
        else:
            words.append(state)
            before.append(ends)
            numbers[i] = [len(words) - 1]
    return words, before, numbers[network.last]


def align_plainly(reference, hypothesis, method):
    """Fill every cell of the table one by one, in sclite's order of choices and its single precision."""
    number = np.float32 if method == "sclite" else int
    change, gap, optional, null = map(number, (4.0, 3.0, 2.0, 0.001) if method == "sclite" else (1, 1, 0, 0))
    (rows, up, row_ends), (columns, left, column_ends) = list_arcs(reference), list_arcs(hypothesis)

    def skip(state):
        return null if state.is_null else optional if state.is_optional else gap

    cost, back = {(0, 0): number(0)}, {}
    for a in range(len(rows)):
        for b in range(len(columns)):
            choices = []
            if a and b and not rows[a].is_null and not columns[b].is_null:
                cell = min(((p, q) for p in up[a] for q in left[b]), key=cost.get)
                choices.append((cost[cell] + (number(0) if is_match(rows[a], columns[b]) else change), cell))
            if b:
                cell = min(((a, q) for q in left[b]), key=cost.get)
                choices.append((cost[cell] + skip(columns[b]), cell))
            if a:
                cell = min(((p, b) for p in up[a]), key=cost.get)
                choices.append((cost[cell] + skip(rows[a]), cell))
            if choices:
                cost[a, b], back[a, b] = min(choices, key=lambda choice: choice[0])
    cell = min(((a, b) for a in row_ends for b in column_ends), key=cost.get)
    path = []
    while cell != (0, 0):
        (a, b), cell = cell, back[cell]
        if cell[0] == a:
            if not columns[b].is_null:
                path.append(("=" if columns[b].is_optional else "I", "", columns[b].written))
        elif cell[1] == b:
            if not rows[a].is_null:
                path.append(("=" if rows[a].is_optional else "D", rows[a].word, ""))
        else:
            path.append(("=" if is_match(rows[a], columns[b]) else "S", rows[a].word, columns[b].written))
    return path[::-1]


def join_alternatives(texts):
    return f"{{ {' / '.join(texts)} }}"


word = st.sampled_from(["a", "b", "c", "ab", "(a)", "(c)", "a-", "-b"])
texts = st.recursive(
    st.lists(word, max_size=4).map(" ".join),
    lambda some: st.lists(
        st.one_of(word, st.lists(some | st.just("@"), min_size=1, max_size=3).map(join_alternatives)), max_size=4
    ).map(" ".join),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(texts, texts, st.sampled_from(METHODS))
def test_the_path_is_that_of_a_plain_table(reference, hypothesis, method):
    networks = [Notation().parse(text, str) for text in (reference, hypothesis)]
    assert align_networks(*networks, method) == align_plainly(*networks, method)


@settings(max_examples=200, deadline=None)
@given(texts, texts, st.sampled_from(METHODS), st.integers(1, 4))
def test_limits_do_not_change_the_path(reference, hypothesis, method, first_limit):
    """Integers, and a band of cells that grows from almost nothing."""
    networks = [Notation().parse(text.replace("@", "d"), str) for text in (reference, hypothesis)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_alignment, "_MIN_BANDED_CELLS", 0)
        patch.setattr(network_alignment, "_FIRST_LIMIT", first_limit)
        assert align_networks(*networks, method) == align_plainly(*networks, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_text_without_alternatives_is_aligned_as_any(method):
    rng = random.Random(1)
    for _ in range(30):
        pair = [[rng.choice("abcd") for _ in range(rng.randint(0, 30))] for _ in range(2)]
        path = align_networks(*map(Network.from_words, pair), "sclite")
        (expected,) = alignment.align_operations([pair[0]], [pair[1]], "sclite")
        assert "".join(operation for operation, _, _ in path) == expected


def make_long_pair(count, seed, share=0.2):
    """A reference of which every tenth word has alternatives, and a hypothesis with a share of errors."""
    rng = random.Random(seed)
    spoken = [f"w{rng.randrange(2000)}" for _ in range(count)]
    marks = [f"{{ {w} / x{i} @ / {w} y }}" if i % 20 == 0 else f"{{{w}/@}}" for i, w in enumerate(spoken)]
    reference = [mark if i % 10 == 0 else w for i, (mark, w) in enumerate(zip(marks, spoken, strict=True))]
    hypothesis = []
    for w in spoken:
        kind = rng.random() / share if share else 9
        hypothesis += ["z"] if kind < 0.5 else [] if kind < 0.75 else [w, "z"] if kind < 1 else [w]
    return " ".join(reference), " ".join(hypothesis)


@pytest.mark.parametrize("method", METHODS)
def test_two_thousand_words(method):
    """In a band around the diagonal; scripts/bench/score_large.py measures the time."""
    reference, hypothesis = make_long_pair(2_000, 5)
    path = align(reference, hypothesis, method)
    errors = sum(operation != "=" for operation, _, _ in path)
    assert 320 < errors < 420


def test_twenty_thousand_alternatives():
    names = [f"w{i}" for i in range(20_000)]
    one_brace = "{ " + " / ".join(names) + " } end"
    assert align(one_brace, "w19999 end") == [("=", "w19999", "w19999"), ("=", "end", "end")]
    assert align(one_brace, "other end")[0] == ("S", "w0", "other")
    many_braces = " ".join(f"{{ {w} / x }}" for w in names[:1_500])
    path = align(many_braces, " ".join("x" if i % 3 else w for i, w in enumerate(names[:1_500])))
    assert [operation for operation, _, _ in path] == ["="] * 1_500
    assert align("w7 end", one_brace) == [("=", "w7", "w7"), ("=", "end", "end")]


def test_a_table_larger_than_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(network_alignment, "_MAX_TRACE_BYTES", 16)
    assert len(align("{ a / b } c", "a c")) == 2  # 4 rows of 3 columns and a junction
    monkeypatch.setattr(network_alignment, "_MAX_TRACE_BYTES", 14)
    with pytest.raises(UserError, match="an utterance of 4 words with alternatives has too many errors"):
        align("{ a / b } c", "a c")
