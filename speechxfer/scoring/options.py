"""Scoring options: normaliser, equivalents, alignment method, unit, sclite's notation, compounds and seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from speechxfer.errors import UserError
from speechxfer.scoring.alignment import check_align_method
from speechxfer.scoring.compounds import join_compounds
from speechxfer.scoring.equivalents import Equivalents, EquivalentsReplacer, make_replacer
from speechxfer.scoring.jiwer_transforms import is_jiwer_transform, wrap_jiwer_transform
from speechxfer.scoring.network_alignment import Step, align_networks
from speechxfer.scoring.normalised_tokens import TokenNormaliser
from speechxfer.scoring.notation import Notation
from speechxfer.scoring.tokens import LABEL_UNIT, check_unit
from speechxfer.scoring.units import AUTO_UNIT, choose_unit
from speechxfer.text.normalise import Normaliser, get_normaliser


@dataclass(frozen=True)
class ScoringOptions:
    """Everything that a score depends on apart from its texts.

    Attributes:
        normaliser: name, path of a GLM file, any function str -> str, or a transform of jiwer, applied to both sides.
            A name or path is replaced by its `Normaliser`.
        align: "min" (fewest edits, as jiwer) or "sclite".
        unit: "word", "char" or "mixed" (CJK characters and other scripts' words); "auto": characters if the references
            are in a script written without spaces, else words; "label": each text is a label, not normalised.
        notation: texts are in sclite's notation: alternatives, optional words and fragments, or what a `Notation`
            says. A GLM file with alternatives implies that the alternatives of all texts are read, as by sclite.
        compounds: words split or joined differently from the reference ("ice cream", "icecream") are correct.
        seed: random seed of the bootstrap and of permutation tests.
        equivalents: words and phrases that count as equal, replaced on both sides after normalisation.

    Raises:
        UserError: for an unknown name, a negative seed, a notation combined with compounds, labels combined with
            either or with equivalents, and equivalents that contradict each other after normalisation.
    """

    normaliser: str | Callable[[str], str] = "default"
    align: str = "min"
    unit: str = AUTO_UNIT
    notation: bool | Notation = False
    compounds: bool = False
    seed: int = 0
    equivalents: Equivalents | None = None

    def __post_init__(self) -> None:
        check_align_method(self.align)
        if self.unit != AUTO_UNIT:
            check_unit(self.unit)
        if self.seed < 0:
            raise UserError(f"seed {self.seed} is negative", fix="use an integer of 0 or more")
        if self.unit == LABEL_UNIT:
            self._check_labels()
            object.__setattr__(self, "normaliser", "none")
        if isinstance(self.normaliser, str):
            object.__setattr__(self, "normaliser", get_normaliser(self.normaliser))
        elif is_jiwer_transform(self.normaliser):
            object.__setattr__(self, "normaliser", wrap_jiwer_transform(self.normaliser))
        _ = self._replacer  # reports contradictions before the work
        if self.compounds and self.reading is not None:
            problem = "compounds cannot be joined in texts with alternatives"
            raise UserError(problem, fix="remove --compounds, or --notation and the alternatives of the GLM file")

    def _check_labels(self) -> None:
        """Raise UserError for options that change labels, which are compared as they are written."""
        name = self.normaliser if isinstance(self.normaliser, str) else self.normaliser_name
        if name not in ("none", "default"):
            raise UserError(f"labels are not normalised, but the normaliser is '{name}'", fix="leave it out")
        options = {"notation": self.notation, "compounds": self.compounds, "equivalents": self.equivalents}
        if changing := [name for name, value in options.items() if value]:
            problem = f"labels are compared as they are written, without {' and '.join(changing)}"
            raise UserError(problem, fix=f"remove {', '.join(f'--{name}' for name in changing)}")

    @property
    def normalise(self) -> Callable[[str], str]:
        """The normaliser as a function."""
        assert not isinstance(self.normaliser, str)  # resolved in __post_init__
        return self.normaliser

    @property
    def is_symmetric(self) -> bool:
        """Whether references and hypotheses are normalised in the same way."""
        return not (isinstance(self.normaliser, Normaliser) and any(rule.by_side for rule in self.normaliser.rules))

    def with_unit_of(self, references: Iterable[str]) -> ScoringOptions:
        """Return the same options with the unit chosen by the references, if it is "auto"."""
        return replace(self, unit=choose_unit(references)) if self.unit == AUTO_UNIT else self

    def with_normaliser(self, normaliser: str | Callable[[str], str]) -> ScoringOptions:
        """Return the same options with another normaliser and without equivalents."""
        return replace(self, normaliser=normaliser, equivalents=None)

    @property
    def normaliser_name(self) -> str:
        return getattr(self.normaliser, "name", getattr(self.normaliser, "__name__", "custom"))

    @cached_property
    def side_normalisers(self) -> tuple[Callable[[str], str], Callable[[str], str]]:
        """The normaliser of references and of hypotheses, each followed by the replacement of equivalents.

        Their results may be in sclite's notation.
        """
        normaliser = self.normalise
        sides = (normaliser, normaliser)
        if isinstance(normaliser, Normaliser) and not self.is_symmetric:
            sides = (normaliser.for_side("reference"), normaliser.for_side("hypothesis"))
        replacer = self._replacer
        if replacer is None:
            return sides
        left, right = (lambda text, side=side: replacer(side(text)) for side in sides)
        return left, right

    @cached_property
    def _replacer(self) -> EquivalentsReplacer | None:
        return None if self.equivalents is None else make_replacer(self.equivalents, self.normalise)

    def normalise_phrase(self, phrase: str) -> str:
        """Normalise a phrase that is of neither side, e.g. a listed term, and replace equivalents."""
        text = self.normalise(phrase)
        return text if self._replacer is None else self._replacer(text)

    @cached_property
    def _side_tokens(self) -> tuple[TokenNormaliser, TokenNormaliser]:
        left, right = self.side_normalisers
        tokens = TokenNormaliser(left, self.unit)
        return tokens, tokens if right is left else TokenNormaliser(right, self.unit)

    @cached_property
    def reading(self) -> Notation | None:
        """How texts in sclite's notation are read; None if all texts are plain words."""
        if self.notation:
            return replace(self.notation if isinstance(self.notation, Notation) else Notation(), unit=self.unit)
        if self._writes_notation:
            return Notation(optional_words=False, fragments=False, unit=self.unit)
        return None

    @property
    def _writes_notation(self) -> bool:
        return getattr(self.normaliser, "writes_notation", False)

    def to_json(self) -> dict[str, Any]:
        return {
            "normaliser": self.normaliser_name,
            "normaliser_version": getattr(self.normaliser, "version", None),
            "align": self.align,
            "unit": self.unit,
            "notation": bool(self.notation),
            "compounds": self.compounds,
            "seed": self.seed,
            "equivalents": None if self.equivalents is None else self.equivalents.name,
            "equivalents_version": None if self.equivalents is None else self.equivalents.version,
        }

    def align_notation(self, reference: str, hypothesis: str, name: str) -> list[Step] | None:
        """Align texts in sclite's notation: (operation, reference word, hypothesis word).

        Returns:
            None if neither side uses the notation, or if it is not read.
        """
        if self.reading is None:
            return None
        texts, normalisers = (reference, hypothesis), self.side_normalisers
        is_marked = any(map(self.reading.has_markup, texts))
        if not is_marked and self._writes_notation:
            is_marked = any(self.reading.has_markup(n(text)) for n, text in zip(normalisers, texts, strict=True))
        if not is_marked:
            return None
        left, right = (
            self.reading.parse(text, normalise, writes_notation=self._writes_notation, where=f"{side} of '{name}'")
            for side, text, normalise in zip(("reference", "hypothesis"), texts, normalisers, strict=True)
        )
        return align_networks(left, right, self.align)

    def tokenize_pairs(
        self, references: Sequence[str], hypotheses: Sequence[str]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Return the units of both sides, normalised, with compounds joined as in the reference if asked for."""
        sides = zip(self._side_tokens, (references, hypotheses), strict=True)
        left, right = (tokens.split(texts) for tokens, texts in sides)
        if self.compounds:
            right = [join_compounds(r, h, self.align) for r, h in zip(left, right, strict=True)]
        return left, right

    def count_reference_words(self, references: Sequence[str]) -> Counter[str]:
        """Return how often each unit occurs in references, normalised."""
        return self._side_tokens[0].count_words(references)
