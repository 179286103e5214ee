"""Training batches: limited by duration, bucketed by length, with reproducible augmentation."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset as Utterances
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from speechxfer import distributed
from speechxfer.adaptation.training.joining import EpochPlan, UtteranceJoiner, compute_joined_seconds
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.parallel import count_cpus
from speechxfer.encoders import frame_store
from speechxfer.encoders.base import FEATURE_OUTPUT
from speechxfer.encoders.frame_store import make_utterance_key
from speechxfer.models import SpeechModel, batch_by_seconds
from speechxfer.shapes import pad_targets

_WAVEFORM_KEYS = {"pitch", "speed", "gain", "noise", "noise_snr", "room"}  # other `augment` keys act above the split
_MAX_WORKERS = 8  # data loading processes next to a GPU
_MIN_SHARED_MEMORY = 1e9  # bytes that must be free for them


class SampleIndex(NamedTuple):
    """An utterance drawn in an epoch.

    padded: its batch is padded to 30 s (Whisper). others: rows of utterances that are joined after it.
    """

    row: int
    epoch: int
    padded: bool
    others: tuple[int, ...] = ()


Sample = tuple[np.ndarray | Tensor, list[int], bool]  # waveform or hidden states, targets, padded


class DurationBatchSampler(Sampler[list[SampleIndex]]):
    """Samples batches of utterances of similar length, at most `max_seconds` each, mixed differently in every epoch.

    The batches of an epoch depend on the seed only, so a resumed run has the same ones. All epochs have the same number
    of batches, as the learning rate schedule requires: an epoch with fewer has its largest ones halved. Each of
    `world_size` processes takes every `world_size`-th batch, starting at `rank`, so that a step of two processes has
    the utterances of a step of one process with two accumulated batches.

    Args:
        seconds: duration of each utterance.
        plan: weights of the utterances, and how they are joined.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        *,
        max_seconds: float,
        epochs: int,
        seed: int,
        plan: EpochPlan | None = None,
        padded_share: float = 0.0,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        plan = plan or EpochPlan()
        self.weights, self.join = None if plan.weights is None else np.asarray(plan.weights), plan.join
        self.seconds, self.max_seconds, self.seed, self.padded_share = seconds, max_seconds, seed, padded_share
        self.world_size, self.rank = world_size, rank
        plans = [self._plan(epoch) for epoch in range(epochs)]
        self._count = -(-max(len(plan) for plan in plans) // world_size) * world_size  # of all processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count // self.world_size

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        plan = self._plan(self.epoch)
        while len(plan) < self._count and max(map(len, plan)) > 1:
            fullest = max(range(len(plan)), key=lambda index: len(plan[index]))
            batch = plan[fullest]
            plan[fullest] = batch[::2]
            plan.append(batch[1::2])
        size = len(plan)
        plan += [plan[index % size] for index in range(self._count - size)]  # fewer utterances than processes
        rng = np.random.default_rng([self.seed, self.epoch, 1])
        rng.shuffle(plan)
        padded = rng.random(len(plan)) < self.padded_share
        for batch, pad in list(zip(plan, padded, strict=True))[self.rank :: self.world_size]:
            yield [SampleIndex(rows[0], self.epoch, bool(pad), rows[1:]) for rows in batch]

    def _plan(self, epoch: int) -> list[list[tuple[int, ...]]]:
        """Return the batches of an epoch; an item of a batch is the rows that are joined, mostly one."""
        rng = np.random.default_rng([self.seed, epoch, 0])
        # noise on the lengths changes the neighbours in every epoch, at the cost of little padding
        jittered = np.asarray(self.seconds) * rng.uniform(0.9, 1.1, len(self.seconds))
        order = np.argsort(jittered, kind="stable")
        if self.weights is not None:
            order = np.repeat(order, self._draw_counts(epoch)[order])
        if self.join is None:
            batches = batch_by_seconds(order.tolist(), self.seconds, self.max_seconds)
            return [[(row,) for row in batch] for batch in batches]
        items = self.join.draw(order.tolist(), self.seconds, np.random.default_rng([self.seed, epoch, 3]))
        lengths = [compute_joined_seconds(rows, self.seconds) for rows in items]
        shortest_first = np.argsort(lengths, kind="stable").tolist()
        return [[items[k] for k in batch] for batch in batch_by_seconds(shortest_first, lengths, self.max_seconds)]

    def _draw_counts(self, epoch: int) -> np.ndarray:
        """Return how often each utterance is drawn in an epoch: its weight, rounded up or down at random."""
        assert self.weights is not None
        whole = np.floor(self.weights).astype(int)
        rng = np.random.default_rng([self.seed, epoch, 2])
        counts = whole + (rng.random(len(whole)) < self.weights - whole)
        return counts if counts.any() else np.ones_like(counts)


def count_loader_workers(device: str) -> int:
    """Return the number of data loading processes: one less than the CPUs per local process, at most 8.

    0 without CUDA, where training needs all cores, and if /dev/shm, through which batches are passed, has less than
    1 GB free (as in a container without `--shm-size`).
    """
    shared_memory = Path("/dev/shm")
    if device != "cuda" or (shared_memory.is_dir() and shutil.disk_usage(shared_memory).free < _MIN_SHARED_MEMORY):
        return 0
    return max(0, min(_MAX_WORKERS, count_cpus() // distributed.get_local_rank()[1] - 1))


def make_dataloader(dataset: Dataset, device: str, **batching: Any) -> DataLoader:
    """Make the data loader of a run on `device` ("cuda", "cpu"), with worker processes next to a GPU.

    batching: `batch_sampler` and `collate_fn`, or `batch_size=None` if items are batches.
    """
    workers = count_loader_workers(device) if len(dataset) else 0  # type: ignore[arg-type]
    return DataLoader(
        dataset,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator(),  # workers' seeds: the default generator is dropout's
        **batching,
    )


def _ignore_interrupt(worker: int) -> None:
    """Let a loading process survive Ctrl-C, after which the current step still needs its batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class AudioHasher:
    """Computes digests of utterances' audio; a file with many utterances is read once."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}

    def digest(self, utterance: Mapping[str, Any]) -> str:
        """Return the digest of the audio's bytes and its start and end."""
        source = audio.get_audio_source(utterance)
        content = make_utterance_key(source, None, None) if isinstance(source, bytes) else self._file(source)
        return make_utterance_key(content.encode(), utterance.get("start"), utterance.get("end"))

    def _file(self, path: str) -> str:
        if path not in self._files:
            self._files[path] = make_utterance_key(Path(path).read_bytes(), None, None)
        return self._files[path]


class TrainingDataset(Dataset):
    """Waveforms and targets. Augmentation depends only on the seed, the copy and the audio.

    Since it does not depend on the row, subsets share the copies of their utterances.

    Args:
        copies: number of augmented copies per utterance, used in turn by the epochs; `None`: a new one in each epoch.
        joiner: joins utterances, if the sampler draws several for an example.
    """

    def __init__(
        self,
        utterances: Utterances,
        targets: list[list[int]],
        augment: WaveformAugmenter,
        seed: int,
        copies: int | None = None,
        joiner: UtteranceJoiner | None = None,
    ) -> None:
        self.joiner = joiner
        self.utterances, self.targets, self.augment, self.seed = utterances, targets, augment, seed
        self.copies = copies
        settings = augment.settings
        # whether the copies of an utterance differ
        self.changes = any((settings.pitch, settings.speed, settings.gain, settings.noise, settings.room))
        self._facts = [settings.model_dump(mode="json", include=_WAVEFORM_KEYS), augment.max_samples, seed]
        self._hasher, self._digests = AudioHasher(), dict[int, str]()

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: SampleIndex) -> Sample:
        copy = self.copy_index(index.epoch)
        if not index.others:
            return self.load_waveform(index.row, copy), self.targets[index.row], index.padded
        assert self.joiner is not None
        rows = (index.row, *index.others)
        waveforms, targets = [self.load_waveform(row, copy) for row in rows], [self.targets[row] for row in rows]
        rng = np.random.default_rng([self.seed, index.epoch, *rows])
        return *self.joiner.join(waveforms, targets, rng), index.padded

    def copy_index(self, epoch: int) -> int:
        """Return the number of the copy that an epoch uses."""
        return epoch if self.copies is None else epoch % self.copies

    def load_waveform(self, row: int, copy: int) -> np.ndarray:
        """Load an augmented copy of an utterance: (time,) float32 at 16 kHz."""
        waveform = audio.load_waveform(self.utterances[row])
        if not self.changes:
            return waveform
        return self.augment(waveform, np.random.default_rng([self.seed, copy, int(self._digest(row), 16)]))

    def cache_key(self, row: int, copy: int) -> str:
        """Return the key of a copy in the frame store."""
        content = self._digest(row)
        if not self.changes:
            return content
        return make_utterance_key(content.encode(), None, None, json.dumps([*self._facts, copy]))

    def _digest(self, row: int) -> str:
        if row not in self._digests:
            self._digests[row] = self._hasher.digest(self.utterances[row])
        return self._digests[row]


class BatchCollator:
    """Collates samples to `labels` (batch, targets), `lengths` (a list) and `features` (batch, ...).

    Samples with hidden states at a split, (frames, dim), give `states` (batch, frames, dim) instead of `features`.
    Lengths are not a tensor, which Trainer would move to the device.
    """

    def __init__(self, model: SpeechModel) -> None:
        self.model = model

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        inputs, targets, padded = zip(*samples, strict=True)
        labels = pad_targets(targets)
        if isinstance(inputs[0], Tensor):
            hidden = frame_store.pad_states(inputs, FEATURE_OUTPUT)
            return {"states": hidden.states, "lengths": hidden.lengths.tolist(), "labels": labels}
        with self.model.use_padding(self.model.settings.pad_to_30s or any(padded)):
            batch = self.model.encoder.prepare(inputs)
        return {"features": batch.features, "lengths": batch.lengths.tolist(), "labels": labels}
