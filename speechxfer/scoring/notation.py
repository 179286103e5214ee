"""References in sclite's notation: alternatives, optional words and fragments, scored as by `sclite -D -F`.

    { a lot / alot / @ }   alternatives, which may be nested; @ is the empty alternative
    (uh)                   an optional word: correct if spoken, and if not
    fr-   -end             a fragment: correct against any word that starts (ends) with it

A reference becomes a network of words; it is scored by the path with the lowest alignment cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from speechxfer.errors import UserError

_MARKUP = re.compile(r"[{}]|(?:^|\s)(?:\(\S+\)|@|-[^\s\d]\S*|\S+-)(?=\s|$)")

Cell = tuple[int, int]  # row and column of the table of costs


@dataclass(frozen=True)
class Arc:
    """A word of the network.

    Attributes:
        predecessors: indices of the arcs that may precede it (-1: the start).
        is_null: this is the empty alternative.
        fragment: "start" if the spoken word starts with `word`, "end" if it ends with it, else "".
    """

    word: str
    predecessors: tuple[int, ...]
    is_null: bool = False
    is_optional: bool = False
    fragment: str = ""

    def matches(self, spoken: str) -> bool:
        if self.word == spoken:
            return True
        if self.fragment == "start" and spoken.startswith(self.word):
            return True
        if self.fragment == "end" and spoken.endswith(self.word):
            return True
        if len(spoken) > 1 and spoken.endswith("-"):  # the hypothesis may contain fragments too
            return self.word.startswith(spoken[:-1])
        return len(spoken) > 1 and spoken.startswith("-") and self.word.endswith(spoken[1:])


@dataclass(frozen=True)
class Network:
    """Arcs in topological order.

    Attributes:
        last: indices of the arcs that may end the reference.
    """

    arcs: tuple[Arc, ...]
    last: tuple[int, ...]


def has_markup(reference: str) -> bool:
    """Return whether a reference uses the notation at all (most do not, and are aligned faster without it)."""
    return _MARKUP.search(reference) is not None


def parse_notation(reference: str, normalise: Callable[[str], str], where: str = "reference") -> Network:
    """Parse a reference into a network. Words without markup between them are normalised together.

    Raises:
        UserError: for unbalanced braces.
    """
    parser = _Parser(normalise, where)
    for token in reference.replace("{", " { ").replace("}", " } ").split():
        parser.read(token)
    return parser.finish()


@dataclass
class _Alternatives:
    """An open brace: the arcs before it, and the ends of the alternatives read so far."""

    start: tuple[int, ...]
    ends: tuple[int, ...] = ()


@dataclass
class _Parser:
    """Builds a network token by token. ends: the arcs that may precede the next word."""

    normalise: Callable[[str], str]
    where: str
    arcs: list[Arc] = field(default_factory=list)
    ends: tuple[int, ...] = (-1,)
    open: list[_Alternatives] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)  # words without markup, not yet normalised

    def read(self, token: str) -> None:
        if self.open and token in ("/", "}"):
            self._end_alternative(closes=token == "}")
        elif not _MARKUP.fullmatch(token):
            self.plain.append(token)
        else:
            self._flush()
            if token == "}":
                raise UserError("'}' without a '{' before it", where=self.where)
            if token == "{":
                self.open.append(_Alternatives(self.ends))
            elif token == "@":
                self._add(Arc("@", self.ends, is_null=True))
            else:
                self._add_marked(token)

    def finish(self) -> Network:
        self._flush()
        if self.open:
            raise UserError("'{' without a '}' after it", where=self.where)
        return Network(tuple(self.arcs), self.ends)

    def _add(self, arc: Arc) -> None:
        self.arcs.append(arc)
        self.ends = (len(self.arcs) - 1,)

    def _flush(self) -> None:
        for word in self.normalise(" ".join(self.plain)).split():
            self._add(Arc(word, self.ends))
        self.plain.clear()

    def _end_alternative(self, *, closes: bool) -> None:
        self._flush()
        alternatives = self.open[-1]
        if self.ends == alternatives.start:  # an alternative without words
            self._add(Arc("@", self.ends, is_null=True))
        alternatives.ends += self.ends
        self.ends = alternatives.ends if closes else alternatives.start
        if closes:
            self.open.pop()

    def _add_marked(self, token: str) -> None:
        optional = len(token) > 2 and token[0] == "(" and token[-1] == ")"
        bare = token[1:-1] if optional else token
        fragment = ""
        if len(bare) > 1 and bare.endswith("-"):
            fragment, bare = "start", bare[:-1]
        elif len(bare) > 1 and bare.startswith("-") and not bare[1].isdigit():
            fragment, bare = "end", bare[1:]
        for word in self.normalise(bare).split():
            self._add(Arc(word, self.ends, is_optional=optional, fragment=fragment))


@dataclass(frozen=True)
class _Costs:
    """Costs of one alignment step; optional: deleting an optional word; null: passing an empty alternative."""

    substitution: Any
    insertion: Any
    deletion: Any
    optional: Any
    null: Any
    match: Any = 0.0

    def cast(self, number_type: type) -> _Costs:
        return _Costs(*(number_type(getattr(self, name)) for name in self.__dataclass_fields__))

    def deletion_of(self, arc: Arc) -> Any:
        return self.null if arc.is_null else self.optional if arc.is_optional else self.deletion


_COSTS = {"sclite": _Costs(4.0, 3.0, 3.0, 2.0, 0.001), "min": _Costs(1.0, 1.0, 1.0, 0.0, 0.0)}


def align_network(network: Network, hypothesis: Sequence[str], method: str) -> list[tuple[str, str, str]]:
    """Align a hypothesis along the cheapest path of a network.

    Ties are broken as by sclite: a match or substitution before an insertion before a deletion, the first of several
    arcs.

    Returns:
        (operation, reference word, hypothesis word); an optional word left out is a hit with ''.
    """
    # sclite adds in single precision, where the thousandths of @ decide between paths of equal cost
    number_type: type = np.float32 if any(arc.is_null for arc in network.arcs) else float
    costs = _COSTS[method].cast(number_type)
    size = len(hypothesis) + 1
    # table[a + 1][j]: lowest cost of ending with arc a after j hypothesis words; back: the cell before
    table = [[costs.insertion * number_type(j) for j in range(size)]]
    back: list[list[Cell]] = [[(0, j - 1) for j in range(size)]]
    for arc in network.arcs:
        line, origin = _extend(arc, table, hypothesis, costs)
        table.append(line)
        back.append(origin)
    row = min((a + 1 for a in network.last), key=lambda r: table[r][size - 1])
    return _trace_path(network, hypothesis, back, row)


def _extend(arc: Arc, table: list[list[Any]], hypothesis: Sequence[str], costs: _Costs) -> tuple[list[Any], list[Cell]]:
    """Return the table's next row, and the cell from which each of its cells is reached."""
    number, rows, deletion = len(table), [a + 1 for a in arc.predecessors], costs.deletion_of(arc)
    line: list[Any] = []
    origin: list[Cell] = []
    for j in range(len(hypothesis) + 1):
        row = min(rows, key=lambda r: table[r][j])
        best, source = table[row][j] + deletion, (row, j)
        if j:
            if line[j - 1] + costs.insertion <= best:
                best, source = line[j - 1] + costs.insertion, (number, j - 1)
            if not arc.is_null:
                row = min(rows, key=lambda r: table[r][j - 1])
                step = costs.match if arc.matches(hypothesis[j - 1]) else costs.substitution
                if table[row][j - 1] + step <= best:
                    best, source = table[row][j - 1] + step, (row, j - 1)
        line.append(best)
        origin.append(source)
    return line, origin


def _trace_path(
    network: Network, hypothesis: Sequence[str], back: list[list[Cell]], row: int
) -> list[tuple[str, str, str]]:
    j = len(hypothesis)
    path = []
    while row or j:
        to_row, to_j = back[row][j]
        spoken = hypothesis[j - 1] if to_j < j else ""
        if to_row == row:
            path.append(("I", "", spoken))
        else:
            arc = network.arcs[row - 1]
            if to_j < j:
                path.append(("=" if arc.matches(spoken) else "S", arc.word, spoken))
            elif not arc.is_null:
                path.append(("=" if arc.is_optional else "D", arc.word, ""))
        row, j = to_row, to_j
    return path[::-1]
