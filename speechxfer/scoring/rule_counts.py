"""Errors after each rule of the normaliser: how much of a rate is a matter of writing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from speechxfer.scoring.counts import Counts
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.normalised_tokens import WordForms
from speechxfer.scoring.options import ScoringOptions
from speechxfer.scoring.result import Score
from speechxfer.scoring.scorer import count_errors
from speechxfer.text.normalise import Normaliser

_CHUNK = 50_000  # utterances normalised together


def count_by_rule(score: Score) -> list[tuple[str, Counts]]:
    """Count errors of the texts as written, then after each further rule of the normaliser, then with equivalents.

    Returns:
        (rule name, counts); a normaliser without rules (none, or a function) has the entries "as written" and its own.
    """
    names, steps = _list_steps(score.options)
    totals = [Counts() for _ in steps]
    normalisers = [options.side_normalisers[0] for options in (*steps, score.options)]
    if _is_by_word(score.options):  # a corpus repeats its words, but not its texts
        normalisers = [WordForms(normalise).__getitem__ for normalise in normalisers]
    with pause_gc():
        for start in range(0, len(score.ids), _CHUNK):
            rows = slice(start, start + _CHUNK)
            totals = [
                total + counts
                for total, counts in zip(totals, _count_chunk(score, rows, steps, normalisers), strict=True)
            ]
    return [*zip(names, [*totals, score.counts], strict=True)]


def _list_steps(options: ScoringOptions) -> tuple[list[str], list[ScoringOptions]]:
    """Return the names of all steps, and the options of all but the last, which are those of the score."""
    normaliser = options.normaliser
    steps: list[tuple[str, str | Callable[[str], str]]] = [("as written", "none")]
    if isinstance(normaliser, Normaliser):
        steps += [(rule.name, normaliser.take_first(k)) for k, rule in enumerate(normaliser.rules, start=1)]
    else:
        steps.append((options.normaliser_name, normaliser))
    if options.equivalents is not None:
        steps.append(("equivalents", normaliser))
    return [name for name, _ in steps], [options.with_normaliser(normaliser) for _, normaliser in steps[:-1]]


def _count_chunk(
    score: Score, rows: slice, steps: Sequence[ScoringOptions], normalisers: Sequence[Callable[[str], str]]
) -> list[Counts]:
    """Count the errors of some utterances with the options of each step.

    From the last step to the first, only the utterances are counted again whose texts the step after it changed.

    normalisers: of each step, and of the score; they normalise a part of a text (see `_choose_parts`).
    """
    sides, ids = (score.references[rows], score.hypotheses[rows]), score.ids[rows]
    words, characters = score.words[rows].copy(), score.characters[rows].copy()
    split = _choose_parts(score.options)
    distinct = list(set(chain.from_iterable(split(text) for side in sides for text in side)))
    after = list(map(normalisers[-1], distinct))
    recounts_all = score.options.reading is not None or not score.options.is_symmetric
    parts: list[tuple[str, ...]] = []  # of both texts of each utterance, made when a rule changes any
    found = []
    for options, normalise in zip(reversed(steps), reversed(normalisers[:-1]), strict=True):
        before = list(map(normalise, distinct))
        changed_parts = {part for part, a, b in zip(distinct, before, after, strict=True) if a != b}
        if changed_parts and not parts:
            parts = [(*split(left), *split(right)) for left, right in zip(*sides, strict=True)]
        some = [i for i, row in enumerate(parts) if not changed_parts.isdisjoint(row)] if changed_parts else []
        changed = list(range(len(ids))) if recounts_all else some
        left, right, names = ([side[i] for i in changed] for side in (*sides, ids))
        at = np.array(changed, dtype=np.int64)
        counted = count_errors(left, right, names, options)
        words[at], characters[at] = counted.words, counted.characters
        found.append(Counts.from_arrays(words, characters))
        after = before
    return found[::-1]


def _choose_parts(options: ScoringOptions) -> Callable[[str], Sequence[str]]:
    """Return a function that splits a text into the parts that are normalised independently of each other."""
    return str.split if _is_by_word(options) else lambda text: (text,)


def _is_by_word(options: ScoringOptions) -> bool:
    return isinstance(options.normaliser, Normaliser) and options.normaliser.by_word and options.equivalents is None
