"""Networks of words: texts with alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from speechxfer.scoring.tokens import tokenize


@dataclass(frozen=True, slots=True)
class State:
    """A word of a network, or the junction at the end of alternatives.

    Attributes:
        word: None for a junction.
        before: indices of the states that may precede it (-1: the start); one for a word, several for a junction.
        is_null: this is the empty word.
        fragment: "start" if the whole word starts with `word`, "end" if it ends with it, else "".
    """

    word: str | None
    before: tuple[int, ...]
    is_null: bool = False
    is_optional: bool = False
    fragment: str = ""

    @property
    def written(self) -> str:
        """The word with the hyphen of a fragment."""
        word = self.word or ""
        return {"": word, "start": f"{word}-", "end": f"-{word}"}[self.fragment]


@dataclass(frozen=True)
class Network:
    """States in topological order.

    Attributes:
        last: index of the state that ends the text (-1 for an empty text).
    """

    states: tuple[State, ...]
    last: int

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Network:
        """Return the network of a text without alternatives."""
        return cls(tuple(State(word, (i - 1,)) for i, word in enumerate(words)), len(words) - 1)

    def list_first_path(self) -> list[State]:
        """Return the words of the first alternatives."""
        path, i = [], self.last
        while i >= 0:
            state = self.states[i]
            path += [state] if state.word is not None else []
            i = state.before[0]
        return path[::-1]


def split_words(network: Network, unit: str) -> Network:
    """Split the words of a network into units; those of an optional word are optional.

    Where paths have equal costs, the order of the states before a junction decides. sclite (`-c`) splits words one by
    one as it walks the network, and puts each after the words that end at the same junction; so does this.
    """
    if unit == "word":
        return network
    units = {i: _split_word(state, unit) for i, state in enumerate(network.states) if state.word is not None}
    is_split = {i for i, parts in units.items() if len(parts) > 1 or network.states[i].is_optional}
    junction = _find_junctions(network)
    ends: dict[int, list[int]] = {}  # words that end at each junction
    for i in units:
        if i in junction and i not in is_split:
            ends.setdefault(junction[i], []).append(i)
    for i in _walk(network, junction):
        if i in junction and i in is_split:
            ends.setdefault(junction[i], []).append(i)
    states: list[State] = []
    last = {-1: -1}  # last unit of each word, and number of each junction
    for i, state in enumerate(network.states):
        if state.word is None:
            if i in junction:  # at the end of an alternative: its words end at the outer junction
                continue
            states.append(State(None, tuple(last[end] for end in ends[i])))
        for n, part in enumerate(units.get(i, ())):
            before = last[state.before[0]] if n == 0 else len(states) - 1
            states.append(
                replace(state, word=part, before=(before,), fragment=state.fragment if i not in is_split else "")
            )
        last[i] = len(states) - 1
    return Network(tuple(states), last[network.last])


def _split_word(state: State, unit: str) -> list[str]:
    assert state.word is not None
    return [state.word] if state.is_null else tokenize(state.word, unit)


def _find_junctions(network: Network) -> dict[int, int]:
    """Return the outermost junction that each state ends at, if any."""
    found: dict[int, int] = {}
    for i, state in reversed(list(enumerate(network.states))):
        if state.word is None:
            for before in state.before:
                found[before] = found.get(i, i)
    return found


def _walk(network: Network, junction: dict[int, int]) -> list[int]:
    """Return the words in the order in which sclite visits them: depth first, the last alternative first."""
    leaving: dict[int, list[int]] = {}
    for i, state in enumerate(network.states):
        if state.word is not None:
            leaving.setdefault(state.before[0], []).append(i)
    order: list[int] = []
    nodes, seen = [-1], {-1}
    while nodes:
        words = leaving.get(nodes.pop(), [])
        for i in words:
            node = junction.get(i, i)
            if node not in seen:
                seen.add(node)
                nodes.append(node)
        order += words
    return order
