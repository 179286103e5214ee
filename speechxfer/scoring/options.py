"""Scoring options: normaliser, equivalents, alignment method, unit, sclite's notation, compounds and seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from speechxfer.errors import UserError
from speechxfer.scoring.alignment import check_align_method
from speechxfer.scoring.equivalents import Equivalents, make_replacer
from speechxfer.scoring.notation import align_network, parse_notation
from speechxfer.scoring.tokens import check_unit, join_compounds, tokenize
from speechxfer.text.normalise import get_normaliser


@dataclass(frozen=True)
class ScoringOptions:
    """Everything that a score depends on apart from its texts.

    Attributes:
        normaliser: name, path of a GLM file, or any function str -> str, applied to both sides. A name or path is
            replaced by its `Normaliser`.
        align: "min" (fewest edits, as jiwer) or "sclite".
        unit: "word", "char" or "mixed" (CJK characters and other scripts' words).
        notation: references are in sclite's notation (alternatives, optional words, fragments).
        compounds: words split or joined differently from the reference ("ice cream", "icecream") are correct.
        seed: random seed of the bootstrap and of permutation tests.
        equivalents: words and phrases that count as equal, replaced on both sides after normalisation.

    Raises:
        UserError: for an unknown name, a negative seed, a notation combined with units or compounds, and equivalents
            that contradict each other after normalisation.
    """

    normaliser: str | Callable[[str], str] = "default"
    align: str = "min"
    unit: str = "word"
    notation: bool = False
    compounds: bool = False
    seed: int = 0
    equivalents: Equivalents | None = None

    def __post_init__(self) -> None:
        check_align_method(self.align)
        check_unit(self.unit)
        if self.seed < 0:
            raise UserError(f"seed {self.seed} is negative", fix="use an integer of 0 or more")
        if self.notation and (self.unit != "word" or self.compounds):
            raise UserError("sclite's notation applies to words only", fix="remove --unit and --compounds")
        if isinstance(self.normaliser, str):
            object.__setattr__(self, "normaliser", get_normaliser(self.normaliser))
        if self.equivalents is not None:
            _ = self.normalise  # reports contradictions before the work

    @cached_property
    def normalise(self) -> Callable[[str], str]:
        """The normaliser as a function, followed by the replacement of equivalents."""
        normaliser = self.normaliser
        assert not isinstance(normaliser, str)  # resolved in __post_init__
        if self.equivalents is None:
            return normaliser
        replace_equivalents = make_replacer(self.equivalents, normaliser)
        return lambda text: replace_equivalents(normaliser(text))

    def with_normaliser(self, normaliser: str | Callable[[str], str]) -> ScoringOptions:
        """Return the same options with another normaliser and without equivalents."""
        return replace(self, normaliser=normaliser, equivalents=None)

    @property
    def normaliser_name(self) -> str:
        return getattr(self.normaliser, "name", getattr(self.normaliser, "__name__", "custom"))

    def to_json(self) -> dict[str, Any]:
        return {
            "normaliser": self.normaliser_name,
            "normaliser_version": getattr(self.normaliser, "version", None),
            "align": self.align,
            "unit": self.unit,
            "notation": self.notation,
            "compounds": self.compounds,
            "seed": self.seed,
            "equivalents": None if self.equivalents is None else self.equivalents.name,
            "equivalents_version": None if self.equivalents is None else self.equivalents.version,
        }

    def align_notation(self, reference: str, hypothesis: str, name: str) -> list[tuple[str, str, str]]:
        """Align a hypothesis with a reference in sclite's notation: (operation, reference word, hypothesis word)."""
        network = parse_notation(reference, self.normalise, where=f"reference of '{name}'")
        return align_network(network, self.normalise(hypothesis).split(), self.align)

    def tokenize_pair(self, reference: str, hypothesis: str) -> tuple[list[str], list[str]]:
        """Return the units of both sides, normalised, with compounds joined as in the reference if asked for."""
        left, right = (tokenize(self.normalise(text), self.unit) for text in (reference, hypothesis))
        return left, join_compounds(left, right) if self.compounds else right
