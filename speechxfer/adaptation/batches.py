"""Utterances become training batches: cut by seconds, bucketed by length, augmented the same in every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset as Utterances
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from speechxfer.data import audio
from speechxfer.data.augment import Augment
from speechxfer.models import SpeechModel, cut_by_seconds

IGNORED = -100  # a place that no loss sees


class Draw(NamedTuple):
    """One utterance drawn in one epoch. padded: with the whole batch padded to 30 s (Whisper)."""

    row: int
    epoch: int
    padded: bool


class BatchesBySeconds(Sampler[list[Draw]]):
    """Batches of utterances of like length, at most `most` seconds each; another mixture every epoch.

    The plan of every epoch follows from the seed alone, so a resumed run meets the batches it would have met. All
    epochs have the same number of batches, which the learning rate's schedule needs: an epoch with fewer has its
    fullest ones halved.
    """

    def __init__(
        self, seconds: Sequence[float], *, most: float, epochs: int, seed: int, padded_share: float = 0.0
    ) -> None:
        self.seconds, self.most, self.seed, self.padded_share = seconds, most, seed, padded_share
        plans = [self._plan(epoch) for epoch in range(epochs)]
        self._count = max(len(plan) for plan in plans)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[Draw]]:
        plan = self._plan(self.epoch)
        while len(plan) < self._count and max(map(len, plan)) > 1:
            fullest = max(range(len(plan)), key=lambda place: len(plan[place]))
            batch = plan[fullest]
            plan[fullest] = batch[::2]
            plan.append(batch[1::2])
        rng = np.random.default_rng([self.seed, self.epoch, 1])
        rng.shuffle(plan)
        padded = rng.random(len(plan)) < self.padded_share
        for batch, pad in zip(plan, padded, strict=True):
            yield [Draw(index, self.epoch, bool(pad)) for index in batch]

    def _plan(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self.seed, epoch, 0])
        # a little noise on the lengths mixes neighbours anew, and costs little padding
        jittered = np.asarray(self.seconds) * rng.uniform(0.9, 1.1, len(self.seconds))
        return list(cut_by_seconds(np.argsort(jittered, kind="stable").tolist(), self.seconds, self.most))


class TrainingUtterances(Dataset):
    """Waveform and targets of a `Draw`. What augmentation does follows from (seed, epoch, row) alone."""

    def __init__(self, utterances: Utterances, targets: list[list[int]], augment: Augment, seed: int) -> None:
        self.utterances, self.targets, self.augment, self.seed = utterances, targets, augment, seed

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, draw: Draw) -> tuple[np.ndarray, list[int], bool]:
        waveform = audio.load(self.utterances[draw.row])
        rng = np.random.default_rng([self.seed, draw.epoch, draw.row])
        return self.augment(waveform, rng), self.targets[draw.row], draw.padded


class Collate:
    """Waveforms and targets to `features` (batch, ...), `lengths` (batch,) and `labels` (batch, targets)."""

    def __init__(self, model: SpeechModel) -> None:
        self.model = model

    def __call__(self, drawn: list[tuple[np.ndarray, list[int], bool]]) -> dict[str, Tensor]:
        waveforms, targets, padded = zip(*drawn, strict=True)
        with self.model.padded(self.model.settings.pad_to_30s or any(padded)):
            inputs = self.model.encoder.prepare(waveforms)
        labels = torch.full((len(targets), max(1, *map(len, targets), 1)), IGNORED)
        for row, target in zip(labels, targets, strict=True):
            row[: len(target)] = torch.tensor(target, dtype=torch.int64)
        return {"features": inputs.features, "lengths": inputs.lengths, "labels": labels}
