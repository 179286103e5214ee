"""Corpora larger than memory: utterances pass by, only sums by speaker stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechxfer.errors import UserError
from speechxfer.scoring.counts import Counts, GroupScore, Interval
from speechxfer.scoring.formats.nist import parse_trn_line
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.result import ScoringOptions
from speechxfer.scoring.scorer import count_errors
from speechxfer.scoring.statistics import MIN_BOOTSTRAP_UNITS, NUM_RESAMPLES, bootstrap_rate, jackknife_t, number_values
from speechxfer.text.normalise import get_normaliser

_CHUNK = 20_000  # utterances held at once


class StreamItem(NamedTuple):
    """One utterance of a stream."""

    id: str
    speaker: str | None
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class StreamScore:
    """Sums by speaker; utterances without one are counted in the whole only."""

    total: GroupScore
    speakers: dict[str, Counts] = field(default_factory=dict)


def score_stream(
    utterances: Iterable[StreamItem],
    *,
    normaliser: str | Callable[[str], str] = "default",
    align: str = "min",
    unit: str = "word",
    seed: int = 0,
) -> StreamScore:
    """Score utterances as they come, in memory that does not grow with their number. The interval is over speakers."""
    rule = get_normaliser(normaliser) if isinstance(normaliser, str) else normaliser
    options = ScoringOptions(rule, align, unit, seed=seed)
    whole, speakers = Counts(), dict[str, Counts]()
    source = iter(utterances)
    while chunk := list(islice(source, _CHUNK)):
        with pause_gc():
            words, characters = count_errors(
                [u.reference for u in chunk], [u.hypothesis for u in chunk], [u.id for u in chunk], options
            )
        whole += Counts.from_arrays(words, characters)
        names, codes = number_values([u.speaker or "" for u in chunk])
        for k, name in enumerate(names):
            if name:
                rows = codes == k
                speakers[name] = speakers.get(name, Counts()) + Counts.from_arrays(words[rows], characters[rows])
    sums = np.array([[c.errors, c.reference_words] for c in speakers.values()], dtype=np.float64).reshape(-1, 2)
    interval = None
    if len(sums) > 1 and sums[:, 1].sum():
        few = len(sums) < MIN_BOOTSTRAP_UNITS
        low, high = jackknife_t(sums) if few else bootstrap_rate(sums, draws=NUM_RESAMPLES, seed=seed)
        interval = Interval(low, high, "speakers", len(sums), "t" if few else "bootstrap")
    return StreamScore(GroupScore(whole, interval), speakers)


def trn_pairs(reference: Path, hypothesis: Path) -> Iterator[StreamItem]:
    """The utterances of two trn files in the same order. Raises UserError at the first line whose ids differ."""
    with reference.open(encoding="utf-8-sig") as left, hypothesis.open(encoding="utf-8-sig") as right:
        for number, (a, b) in enumerate(zip_longest(left, right), start=1):
            first, second = parse_trn_line(a or ""), parse_trn_line(b or "")
            if first is None or second is None or first[1] != second[1]:
                raise UserError(
                    "the two files do not hold the same utterances in the same order",
                    where=f"line {number}",
                    fix="sort both by id, or score them whole: speechxfer score",
                )
            yield StreamItem(first[1], first[2], first[0], second[0])
