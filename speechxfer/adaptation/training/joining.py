"""Joins utterances of a speaker to longer ones, so that a model is trained on the lengths of long recordings.

A model that was trained on short utterances only leaves out sentences of longer audio.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from speechxfer.shapes import SAMPLE_RATE

PAUSE_SECONDS = (0.2, 0.8)  # shortest and longest pause between joined utterances
MEAN_PAUSE = sum(PAUSE_SECONDS) / 2


@dataclass(frozen=True)
class EpochPlan:
    """Which utterances an epoch has.

    Args:
        weights: number of times that each utterance is drawn in an epoch, on average (default: once).
        join: how utterances are joined to longer ones (default: not at all).
    """

    weights: Sequence[float] | None = None
    join: JoinPlan | None = None


@dataclass(frozen=True)
class JoinPlan:
    """How utterances are joined.

    Args:
        share: share of the utterances that are joined with others.
        max_seconds: maximum length of joined audio.
        groups: each utterance's speaker; only utterances of one speaker are joined.
        num_targets: number of each utterance's targets.
        max_targets: maximum number of joined targets (default: any).
        stretch: largest factor of augmentation on the length of audio.
    """

    share: float
    max_seconds: float
    groups: Sequence[Hashable]
    num_targets: Sequence[int]
    max_targets: int | None = None
    stretch: float = 1.0

    def draw(self, rows: Sequence[int], seconds: Sequence[float], rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Return the rows of an epoch in groups: tuples of rows to join, single rows otherwise.

        The length of each joined utterance is drawn between zero and `max_seconds`, so that all lengths occur.
        """
        is_joined = rng.random(len(rows)) < self.share
        items: list[tuple[int, ...]] = [(row,) for row, joined in zip(rows, is_joined, strict=True) if not joined]
        by_group: dict[Hashable, list[int]] = {}
        for row, joined in zip(rows, is_joined, strict=True):
            if joined:
                by_group.setdefault(self.groups[row], []).append(row)
        for group in by_group.values():
            rng.shuffle(group)
            items += self._pack(group, seconds, rng)
        return items

    def _pack(self, group: list[int], seconds: Sequence[float], rng: np.random.Generator) -> list[tuple[int, ...]]:
        packed: list[tuple[int, ...]] = []
        current: list[int] = []
        target = rng.uniform(0, self.max_seconds)
        for row in group:
            if current and not self._fits([*current, row], seconds, target):
                packed.append(tuple(current))
                current, target = [], rng.uniform(0, self.max_seconds)
            current.append(row)
        return [*packed, tuple(current)]

    def _fits(self, rows: Sequence[int], seconds: Sequence[float], target: float) -> bool:
        """Whether joined rows have at most the target length, and at most the maximum however they are augmented."""
        if compute_joined_seconds(rows, seconds) > target:
            return False
        longest = self.stretch * sum(seconds[row] for row in rows) + PAUSE_SECONDS[1] * (len(rows) - 1)
        targets = sum(self.num_targets[row] for row in rows)
        return longest <= self.max_seconds and (self.max_targets is None or targets <= self.max_targets)


def compute_joined_seconds(rows: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the length of joined utterances with mean pauses between them."""
    return sum(seconds[row] for row in rows) + MEAN_PAUSE * (len(rows) - 1)


def join_waveforms(waveforms: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Join (time,) waveforms at 16 kHz with pauses of random length."""
    pieces = [waveforms[0]]
    for waveform in waveforms[1:]:
        pieces += [np.zeros(round(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE), np.float32), waveform]
    return np.concatenate(pieces)
