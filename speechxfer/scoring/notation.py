"""References in sclite's notation: alternatives, optional words and fragments, scored as `sclite -D -F` scores them.

    { a lot / alot / @ }   alternatives, nested if need be; @ is nothing at all
    (uh)                   an optional word: correct when absent, and when said
    fr-   -end             a fragment: correct against any word that begins (ends) so

The reference is a network of words; the cheapest path through it is the reference that counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from speechxfer.errors import UserError

# substitution, insertion, deletion, deletion of an optional word, passing over nothing (@)
_COSTS = {"sclite": (4.0, 3.0, 3.0, 2.0, 0.001), "min": (1.0, 1.0, 1.0, 0.0, 0.0)}
_MARKUP = re.compile(r"[{}]|(?:^|\s)(?:\(\S+\)|@|-[^\s\d]\S*|\S+-)(?=\s|$)")


@dataclass(frozen=True)
class Arc:
    """A word of the network. before: the arcs that may precede it (-1: the beginning)."""

    word: str
    predecessors: tuple[int, ...]
    is_null: bool = False
    is_optional: bool = False
    fragment: str = ""  # "start": the word begins so; "end": it ends so

    def matches(self, said: str) -> bool:
        if self.word == said:
            return True
        if self.fragment == "start" and said.startswith(self.word):
            return True
        if self.fragment == "end" and said.endswith(self.word):
            return True
        if len(said) > 1 and said.endswith("-"):  # a fragment may be the hypothesis's
            return self.word.startswith(said[:-1])
        return len(said) > 1 and said.startswith("-") and self.word.endswith(said[1:])


@dataclass(frozen=True)
class Network:
    """Arcs in an order in which every arc stands behind those before it; `last`: the arcs that may end it."""

    arcs: tuple[Arc, ...]
    last: tuple[int, ...]


def has_markup(reference: str) -> bool:
    """Whether a reference uses the notation at all (most do not, and are aligned quickly)."""
    return _MARKUP.search(reference) is not None


def parse_notation(reference: str, normalise: Callable[[str], str], where: str = "reference") -> Network:
    """The network of a reference; words are normalised together as far as no notation stands between them.

    Raises UserError for braces that do not pair.
    """
    tokens = reference.replace("{", " { ").replace("}", " } ").split()
    arcs: list[Arc] = []
    depth = 0

    def add(word: str, before: tuple[int, ...], **kind: bool | str) -> tuple[int, ...]:
        arcs.append(Arc(word, before, **kind))  # type: ignore[arg-type]
        return (len(arcs) - 1,)

    def sequence(at: int, before: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Read words until the end, a `/` or a `}` of this depth."""
        nonlocal depth
        plain: list[str] = []
        while at < len(tokens) and not (depth and tokens[at] in ("/", "}")):
            token = tokens[at]
            at += 1
            if not _MARKUP.fullmatch(token):
                plain.append(token)
                continue
            before = words(plain, before)
            if token == "}":
                raise UserError("'}' without a '{' before it", where=where)
            if token == "{":
                ends: tuple[int, ...] = ()
                depth += 1
                while True:
                    at, end = sequence(at, before)
                    if at >= len(tokens):
                        raise UserError("'{' without a '}' after it", where=where)
                    ends += add("@", before, null=True) if end == before else end
                    at += 1
                    if tokens[at - 1] == "}":
                        break
                depth -= 1
                before = ends
            elif token == "@":
                before = add("@", before, null=True)
            else:
                before = marked(token, before)
        return at, words(plain, before)

    def words(plain: list[str], before: tuple[int, ...]) -> tuple[int, ...]:
        for part in normalise(" ".join(plain)).split():
            before = add(part, before)
        plain.clear()
        return before

    def marked(token: str, before: tuple[int, ...]) -> tuple[int, ...]:
        optional = len(token) > 2 and token[0] == "(" and token[-1] == ")"
        bare = token[1:-1] if optional else token
        fragment = ""
        if len(bare) > 1 and bare.endswith("-"):
            fragment, bare = "start", bare[:-1]
        elif len(bare) > 1 and bare.startswith("-") and not bare[1].isdigit():
            fragment, bare = "end", bare[1:]
        for part in normalise(bare).split():
            before = add(part, before, optional=optional, fragment=fragment)
        return before

    _, end = sequence(0, (-1,))
    return Network(tuple(arcs), end)


def align_network(network: Network, hypothesis: Sequence[str], method: str) -> list[tuple[str, str, str]]:
    """(operation, reference word, hypothesis word) along the cheapest path; an optional word left out hits ''.

    Ties fall as in sclite: a match or substitution before an insertion before a deletion, the first of several arcs.
    """
    # sclite adds in single precision, where the thousandths of @ decide between paths of the same cost
    number_type: type = np.float32 if any(arc.is_null for arc in network.arcs) else float
    change, insertion, deletion, skip, nothing, free = map(number_type, (*_COSTS[method], 0.0))
    size = len(hypothesis) + 1
    # cost[a + 1][j]: the cheapest way to end with arc a having read j words; back: the cell before
    cost = [[insertion * number_type(j) for j in range(size)]]
    back: list[list[tuple[int, int]]] = [[(0, j - 1) for j in range(size)]]
    for number, arc in enumerate(network.arcs, start=1):
        rows = [a + 1 for a in arc.predecessors]
        leave = nothing if arc.is_null else skip if arc.is_optional else deletion
        line: list[float] = []
        origin: list[tuple[int, int]] = []
        for j in range(size):
            row = min(rows, key=lambda r: cost[r][j])
            best, source = cost[row][j] + leave, (row, j)
            if j:
                if line[j - 1] + insertion <= best:
                    best, source = line[j - 1] + insertion, (number, j - 1)
                if not arc.is_null:
                    row = min(rows, key=lambda r: cost[r][j - 1])
                    match = cost[row][j - 1] + (free if arc.matches(hypothesis[j - 1]) else change)
                    if match <= best:
                        best, source = match, (row, j - 1)
            line.append(best)
            origin.append(source)
        cost.append(line)
        back.append(origin)
    row, j = min((a + 1 for a in network.last), key=lambda r: cost[r][size - 1]), size - 1
    path = []
    while row or j:
        to_row, to_j = back[row][j]
        said = hypothesis[j - 1] if to_j < j else ""
        if to_row == row:
            path.append(("I", "", said))
        else:
            arc = network.arcs[row - 1]
            if to_j < j:
                path.append(("=" if arc.matches(said) else "S", arc.word, said))
            elif not arc.is_null:
                path.append(("=" if arc.is_optional else "D", arc.word, ""))
        row, j = to_row, to_j
    return path[::-1]
