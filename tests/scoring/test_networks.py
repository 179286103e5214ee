"""Networks of words: their texts, and the same texts after words are split into characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.scoring.networks import Network, State, split_words
from speechxfer.scoring.notation import Notation

WORDS = st.text("abc", min_size=1, max_size=3)
TEXTS = st.lists(
    st.one_of(WORDS, st.lists(st.lists(WORDS, min_size=1, max_size=2), min_size=2, max_size=3)), max_size=4
)


def write(parts: list[str | list[list[str]]]) -> str:
    """The text in sclite's notation: a word, or alternatives of one or more words."""
    return " ".join(
        part if isinstance(part, str) else f"{{ {' / '.join(' '.join(words) for words in part)} }}" for part in parts
    )


def list_texts(network: Network, state: int | None = None) -> list[str]:
    """The texts of all paths that end at `state` (default: the last), their words joined without spaces."""
    state = network.last if state is None else state
    if state == -1:
        return [""]
    word = network.states[state].word or ""
    return sorted({text + word for before in network.states[state].before for text in list_texts(network, before)})


def test_a_plain_text_is_one_path() -> None:
    network = Network.from_words(["one", "two"])
    assert [state.word for state in network.list_first_path()] == ["one", "two"]
    assert list_texts(network) == ["onetwo"]
    assert Network.from_words([]) == Network((), -1) and Network.from_words([]).list_first_path() == []


def test_the_first_path_has_the_first_alternatives() -> None:
    network = Notation().parse("a { b / c d } { e f / g } h", str)
    assert [state.word for state in network.list_first_path()] == ["a", "b", "e", "f", "h"]


@pytest.mark.parametrize(("fragment", "written"), [("", "he"), ("start", "he-"), ("end", "-he")])
def test_fragments_are_written_with_a_hyphen(fragment: str, written: str) -> None:
    assert State("he", (-1,), fragment=fragment).written == written
    assert State(None, (-1,)).written == ""


def test_words_stay_whole_if_words_are_counted() -> None:
    network = Notation().parse("ab { c / de }", str)
    assert split_words(network, "word") is network


@given(TEXTS)
def test_split_into_characters_the_texts_are_the_same(parts: list[str | list[list[str]]]) -> None:
    network = Notation().parse(write(parts), str)
    split = split_words(network, "char")
    assert list_texts(split) == list_texts(network)
    assert all(state.word is None or len(state.word) == 1 for state in split.states)
    assert all(before < number for number, state in enumerate(split.states) for before in state.before)


def test_characters_of_an_optional_word_are_optional() -> None:
    split = split_words(Notation().parse("a (bc) d", str), "char")
    assert [(state.word, state.is_optional) for state in split.states] == [
        ("a", False), ("b", True), ("c", True), ("d", False),
    ]  # fmt: skip
