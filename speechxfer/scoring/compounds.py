"""Compounds: words of the hypothesis split or joined as in the reference (`ice cream`, `icecream`, `ice-cream`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechxfer.scoring.alignment import count_operations
from speechxfer.scoring.network_alignment import align_networks
from speechxfer.scoring.networks import Network, State

_WIDTHS = (2, 3)  # parts of a compound


def join_compounds(reference: list[str], hypothesis: list[str], method: str = "min") -> list[str]:
    """Return the hypothesis with the compounds of the reference, where this reduces the number of errors.

    Words that the reference contains in the same spelling are left as they are.

    Args:
        method: the alignment method that the errors are counted with.
    """
    spellings = _find_spellings(reference, hypothesis)
    if not spellings:
        return hypothesis
    network = _make_network(hypothesis, spellings)
    path = align_networks(Network.from_words(reference), network, method)
    joined = [spoken for _, _, spoken in path if spoken]
    before, after = count_operations([reference, reference], [hypothesis, joined], method)[:, 1:].sum(axis=1)
    return joined if after < before else hypothesis


def _find_spellings(reference: list[str], hypothesis: list[str]) -> dict[tuple[int, int], list[str]]:
    """Return the reference's spelling of words of the hypothesis, by the first word and the one after the last."""
    bare = [word.replace("-", "") for word in reference]
    known = set(reference)
    spellings: dict[str, list[str]] = {}
    for word, spelling in zip(bare, reference, strict=True):
        spellings.setdefault(word, [spelling])
    whole = set(bare)
    for width in _WIDTHS:
        for i in range(len(reference) - width + 1):
            spellings.setdefault("".join(bare[i : i + width]), reference[i : i + width])
    found: dict[tuple[int, int], list[str]] = {}
    for i, word in enumerate(hypothesis):
        if word not in known and (written := spellings.get(word.replace("-", ""))):
            found[i, i + 1] = written
        for width in _WIDTHS:
            part = hypothesis[i : i + width]
            key = "".join(part).replace("-", "")
            if len(part) == width and key in whole and not all(one in known for one in part):
                found[i, i + width] = spellings[key]
    return found


@dataclass
class _Builder:
    """Builds the network of a hypothesis: between the boundaries of its words, the words and other spellings."""

    states: list[State] = field(default_factory=list)

    def add_words(self, before: int, words: list[str]) -> int:
        """Add words one after the other, and return the last state."""
        for word in words:
            self.states.append(State(word, (before,)))
            before = len(self.states) - 1
        return before

    def join(self, ends: list[int]) -> int:
        """Return the state at a boundary that several words end at."""
        if len(ends) == 1:
            return ends[0]
        self.states.append(State(None, tuple(ends)))
        return len(self.states) - 1


def _make_network(hypothesis: list[str], spellings: dict[tuple[int, int], list[str]]) -> Network:
    builder = _Builder()
    ends: list[list[int]] = [[] for _ in range(len(hypothesis) + 1)]
    for i, word in enumerate(hypothesis):
        at = builder.join(ends[i]) if i else -1
        ends[i + 1].append(builder.add_words(at, [word]))
        for width in (1, *_WIDTHS):
            if (i, i + width) in spellings:
                ends[i + width].append(builder.add_words(at, spellings[i, i + width]))
    last = builder.join(ends[-1])
    return Network(tuple(builder.states), last)
