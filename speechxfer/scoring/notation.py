"""Texts in sclite's notation: alternatives, optional words and fragments, read as sclite with `-D -F` reads them.

    { a lot / alot / @ }   alternatives, which may be nested and glued ({a/b}); @ is the empty word
    (uh)                   an optional word: correct if it is spoken, and if not (sclite -D)
    fr-   -end             a fragment: correct against any word that starts (ends) with it (sclite -F)
    word;tag               a word with a tag, which is not part of the text

Either side may be in the notation. A text becomes a network of words; `network_alignment` scores the two paths with the
lowest alignment cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from speechxfer.errors import UserError
from speechxfer.scoring.networks import Network, State, split_words
from speechxfer.text.glm import take_first_alternatives

_OPTIONAL_WORD = r"\(\S+\)"
_FRAGMENT = r"-[^\s\d]\S*|\S+-"
_TAG = re.compile(r"(?<=[^\s\\]);\S*")
_MAYBE_UNREAD = re.compile(r"[{}@;]")
_UNREAD = {
    "braces": re.compile(r"[{}]"),
    "the word @": re.compile(r"(?<!\S)@(?!\S)"),
    "tags (word;tag)": re.compile(r"[^\s\\;];[^\s;]"),
}


@dataclass(frozen=True)
class Notation:
    """How texts are read. Alternatives are always read, the rest by choice.

    Attributes:
        unit: the unit that is counted. Characters of an optional word are optional; fragments are plain characters.
    """

    optional_words: bool = True
    fragments: bool = True
    unit: str = "word"

    def has_markup(self, text: str) -> bool:
        """Return whether a text uses the notation at all (most do not, and are aligned faster without it)."""
        return self._markup.search(text) is not None

    def parse(
        self, text: str, normalise: Callable[[str], str], *, writes_notation: bool = False, where: str = "reference"
    ) -> Network:
        """Parse a text into a network. Words without markup between them are normalised together.

        Args:
            writes_notation: `normalise` may return texts in the notation (a GLM file with alternatives).
            where: the text's name in messages.

        Raises:
            UserError: for unbalanced braces.
        """
        parser = _Parser(self, normalise, writes_notation, where)
        for token in _split_tokens(text):
            parser.read(token)
        return split_words(parser.finish(), self.unit)

    @cached_property
    def marked_word(self) -> re.Pattern[str]:
        """An optional word or a fragment, as far as they are read."""
        kinds = [_OPTIONAL_WORD] if self.optional_words else []
        kinds += [_FRAGMENT] if self.fragments and self.unit != "char" else []
        return re.compile("|".join(kinds) if kinds else r"(?!)")

    @cached_property
    def _markup(self) -> re.Pattern[str]:
        return re.compile(rf"[{{}}]|{_TAG.pattern}|(?<!\S)(?:@|{self.marked_word.pattern})(?!\S)")


def find_unread_markup(texts: Iterable[str], ids: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (description, ids) of each markup of sclite's notation that occurs in texts scored as plain words."""
    found: dict[str, list[str]] = {}
    for text, name in zip(texts, ids, strict=True):
        for description, pattern in _UNREAD.items() if _MAYBE_UNREAD.search(text) else ():
            if pattern.search(text):
                found.setdefault(description, []).append(name)
    yield from found.items()


def _split_tokens(text: str) -> list[str]:
    """Split at spaces and braces, and at slashes within braces."""
    if "{" not in text and "}" not in text:
        return text.split()
    tokens: list[str] = []
    depth = 0
    for piece in re.split(r"([{}])", text):
        if piece in ("{", "}"):
            depth = max(0, depth + (1 if piece == "{" else -1))
            tokens.append(piece)
        else:
            tokens += (piece.replace("/", " / ") if depth else piece).split()
    return tokens


@dataclass
class _Alternatives:
    """An open brace: the state before it, and the ends of the alternatives read so far."""

    start: int
    ends: list[int] = field(default_factory=list)


@dataclass
class _Parser:
    """Builds a network token by token. at: the state that precedes the next word."""

    notation: Notation
    normalise: Callable[[str], str]
    writes_notation: bool
    where: str
    states: list[State] = field(default_factory=list)
    at: int = -1
    open: list[_Alternatives] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)  # words without markup, not yet normalised

    def read(self, token: str, *, is_normalised: bool = False) -> None:
        """Read a token of a text, or of what the normaliser made of it."""
        token = _TAG.sub("", token).replace("\\;", ";")
        if self.open and token in ("/", "}"):
            self._end_alternative(closes=token == "}")
        elif token == "}":
            raise UserError("'}' without a '{' before it", where=self.where)
        elif token == "{":
            self._flush()
            self.open.append(_Alternatives(self.at))
        elif token == "@":
            self._flush()
            self._add(State("@", (self.at,), is_null=True))
        elif self.notation.marked_word.fullmatch(token):
            self._flush()
            self._add_marked(token, is_normalised)
        elif is_normalised:
            self._add_words(token)
        else:
            self.plain.append(token)

    def finish(self) -> Network:
        self._flush()
        if self.open:
            raise UserError("'{' without a '}' after it", where=self.where)
        return Network(tuple(self.states), self.at)

    def _add(self, state: State) -> None:
        self.states.append(state)
        self.at = len(self.states) - 1

    def _add_words(self, text: str, *, is_optional: bool = False, fragment: str = "") -> None:
        for word in text.split():
            self._add(State(word, (self.at,), False, is_optional, fragment))

    def _flush(self) -> None:
        if not self.plain:
            return
        text = self.normalise(" ".join(self.plain))
        self.plain.clear()
        if not self.writes_notation:
            self._add_words(text)
            return
        for token in _split_tokens(text):
            self.read(token, is_normalised=True)

    def _end_alternative(self, *, closes: bool) -> None:
        self._flush()
        alternatives = self.open[-1]
        if self.at == alternatives.start:  # an alternative without words
            self._add(State("@", (self.at,), is_null=True))
        alternatives.ends.append(self.at)
        self.at = alternatives.start
        if closes:
            self.open.pop()
            self.at = alternatives.ends[0]
            if len(alternatives.ends) > 1:
                self._add(State(None, tuple(alternatives.ends)))

    def _add_marked(self, token: str, is_normalised: bool) -> None:
        notation = self.notation
        is_optional = notation.optional_words and len(token) > 2 and token[0] == "(" and token[-1] == ")"
        bare = token[1:-1] if is_optional else token
        fragment = ""
        if notation.fragments and notation.unit != "char" and len(bare) > 1:
            if bare.endswith("-"):
                fragment, bare = "start", bare[:-1]
            elif bare.startswith("-") and not bare[1].isdigit():
                fragment, bare = "end", bare[1:]
        if not is_normalised:
            bare = self.normalise(bare)
            bare = take_first_alternatives(bare) if self.writes_notation else bare
        self._add_words(bare, is_optional=is_optional, fragment=fragment)
