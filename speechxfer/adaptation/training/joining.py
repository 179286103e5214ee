"""Joins utterances of a speaker to longer ones, so that a model is trained on the lengths of long recordings.

A model that was trained on short utterances only leaves out sentences of longer audio.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from speechxfer.models import SpeechModel
from speechxfer.shapes import SAMPLE_RATE

PAUSE_SECONDS = (0.2, 0.8)  # shortest and longest pause between joined utterances
MEAN_PAUSE = sum(PAUSE_SECONDS) / 2
TIMESTAMP_SHARE = 0.5  # of the joined examples, if the model has timestamp tokens
CUT_SHARE = 0.5  # of those with timestamps: the audio ends within the last utterance,
CUT_RANGE = (0.1, 0.9)  # after this share of it

NUM_TIMESTAMPS = 2  # targets that each joined utterance may have besides its text
Span = tuple[float, float]  # start and end in seconds


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


@dataclass(frozen=True)
class UtteranceJoiner:
    """Joins the waveforms and the targets of utterances.

    Half of the joined examples are trained with timestamps, at each utterance's start and end, if the model has tokens
    for them: with those, other libraries find where their next window of 30 s starts. In half of these, the audio ends
    within the last utterance, of which only the start is a target, as in Whisper's training: such a window's last
    sentence is transcribed in the next window.

    Args:
        model: joins the targets.
    """

    model: SpeechModel

    def join(
        self, waveforms: Sequence[np.ndarray], targets: Sequence[list[int]], rng: np.random.Generator
    ) -> tuple[np.ndarray, list[int]]:
        """Return the joined waveform, (time,) at 16 kHz, and the joined target."""
        with_times, is_cut = rng.random(2) < (TIMESTAMP_SHARE, CUT_SHARE)
        waveform, spans = join_waveforms(waveforms, rng)
        if not (with_times and self.model.knows_timestamps):
            return waveform, self.model.join_targets(targets)
        start, end = spans[-1]
        if is_cut and self.model.kind == "seq2seq":  # a CTC head is trained on all that is spoken
            cut = start + rng.uniform(*CUT_RANGE) * (end - start)
            target = self.model.join_targets(targets, [*spans[:-1], (start, None)])
            return waveform[: round(cut * SAMPLE_RATE)], target
        return waveform, self.model.join_targets(targets, list(spans))


def join_waveforms(waveforms: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, list[Span]]:
    """Join (time,) waveforms at 16 kHz with random pauses; returns also each one's start and end in seconds."""
    pieces: list[np.ndarray] = []
    spans: list[Span] = []
    length = 0
    for number, waveform in enumerate(waveforms):
        if number:
            pieces.append(np.zeros(round(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE), np.float32))
            length += len(pieces[-1])
        spans.append((length / SAMPLE_RATE, (length + len(waveform)) / SAMPLE_RATE))
        pieces.append(waveform)
        length += len(waveform)
    return np.concatenate(pieces), spans
