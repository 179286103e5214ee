"""Utterances become training batches: cut by seconds, bucketed by length, augmented the same in every run."""

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
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.parallel import count_cpus
from speechxfer.encoders import frame_store
from speechxfer.encoders.base import FEATURE_OUTPUT
from speechxfer.encoders.frame_store import make_utterance_key
from speechxfer.models import SpeechModel, batch_by_seconds
from speechxfer.shapes import pad_targets

_OF_WAVEFORMS = {"pitch", "speed", "gain", "noise", "noise_snr", "room"}  # the rest of `augment` acts above the split
_WORKERS, _SHARED = 8, 1e9  # at most so many beside a GPU, where so many bytes of shared memory are free


class SampleIndex(NamedTuple):
    """One utterance drawn in one epoch. padded: with the whole batch padded to 30 s (Whisper)."""

    row: int
    epoch: int
    padded: bool


Sample = tuple[np.ndarray | Tensor, list[int], bool]  # waveform or hidden states, targets, padded


class DurationBatchSampler(Sampler[list[SampleIndex]]):
    """Batches of utterances of like length, at most `max_seconds` each; another mixture every epoch.

    The plan of every epoch follows from the seed alone, so a resumed run meets the batches it would have met. All
    epochs have the same number of batches, which the learning rate's schedule needs: an epoch with fewer has its
    fullest ones halved. Each of
    `world_size` processes takes every `world_size`-th batch, starting at `get_rank`, so that a step of two processes holds
    the utterances of a step of one process with two accumulated batches.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        *,
        max_seconds: float,
        epochs: int,
        seed: int,
        padded_share: float = 0.0,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        self.seconds, self.max_seconds, self.seed, self.padded_share = seconds, max_seconds, seed, padded_share
        self.world_size, self.rank = world_size, rank
        plans = [self._plan(epoch) for epoch in range(epochs)]
        self._count = -(-max(len(plan) for plan in plans) // world_size) * world_size  # of all of them together
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count // self.world_size

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        plan = self._plan(self.epoch)
        while len(plan) < self._count and max(map(len, plan)) > 1:
            fullest = max(range(len(plan)), key=lambda place: len(plan[place]))
            batch = plan[fullest]
            plan[fullest] = batch[::2]
            plan.append(batch[1::2])
        several = len(plan)
        plan += [plan[place % several] for place in range(self._count - several)]  # fewer utterances than processes
        rng = np.random.default_rng([self.seed, self.epoch, 1])
        rng.shuffle(plan)
        padded = rng.random(len(plan)) < self.padded_share
        for batch, pad in list(zip(plan, padded, strict=True))[self.rank :: self.world_size]:
            yield [SampleIndex(index, self.epoch, bool(pad)) for index in batch]

    def _plan(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self.seed, epoch, 0])
        # a little noise on the lengths mixes neighbours anew, and costs little padding
        jittered = np.asarray(self.seconds) * rng.uniform(0.9, 1.1, len(self.seconds))
        return list(batch_by_seconds(np.argsort(jittered, kind="stable").tolist(), self.seconds, self.max_seconds))


def count_loader_workers(device: str) -> int:
    """Processes that decode, augment and collate the next batches while a GPU trains; none beside a CPU's own work.

    None either where shared memory, by which batches come, is as scarce as in a container started without `--shm-size`.
    """
    shared = Path("/dev/shm")
    if device != "cuda" or (shared.is_dir() and shutil.disk_usage(shared).free < _SHARED):
        return 0
    return max(0, min(_WORKERS, count_cpus() // distributed.get_local_rank()[1] - 1))


def make_dataloader(utterances: Dataset, device: str, **how: Any) -> DataLoader:
    """What loads the batches of a run on `device` ("cuda", "cpu"), beside a GPU in processes of its own.

    how: what becomes a batch (`batch_sampler` and `collate_fn`, or `batch_size=None` where items are batches already).
    """
    workers = count_loader_workers(device) if len(utterances) else 0  # type: ignore[arg-type]
    return DataLoader(
        utterances,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator(),  # workers' seeds are drawn here, and not from where dropout draws
        **how,
    )


def _ignore_interrupt(worker: int) -> None:
    """In a loading process: a first Ctrl-C lets the step end, and its batch is still wanted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class AudioHasher:
    """Digests of utterances' audio, which say whether it is the same audio. A file that holds many is read once."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}

    def digest(self, utterance: Mapping[str, Any]) -> str:
        """Of its audio's bytes and its cut."""
        source = audio.get_audio_source(utterance)
        content = make_utterance_key(source, None, None) if isinstance(source, bytes) else self._file(source)
        return make_utterance_key(content.encode(), utterance.get("start"), utterance.get("end"))

    def _file(self, path: str) -> str:
        if path not in self._files:
            self._files[path] = make_utterance_key(Path(path).read_bytes(), None, None)
        return self._files[path]


class TrainingDataset(Dataset):
    """Waveform and targets of a `SampleIndex`. What augmentation does follows from the seed, the copy and the audio alone.

    copies: epochs take so many augmented copies in turn; None is another one every epoch. A copy depends on what an
    utterance holds and not on its row, so parts that share utterances share their copies too.
    """

    def __init__(
        self,
        utterances: Utterances,
        targets: list[list[int]],
        augment: WaveformAugmenter,
        seed: int,
        copies: int | None = None,
    ) -> None:
        self.utterances, self.targets, self.augment, self.seed = utterances, targets, augment, seed
        self.copies = copies
        settings = augment.settings
        # whether copies differ
        self.changes = any((settings.pitch, settings.speed, settings.gain, settings.noise, settings.room))
        self._facts = [settings.model_dump(mode="json", include=_OF_WAVEFORMS), augment.longest, seed]
        self._contents, self._of_rows = AudioHasher(), dict[int, str]()

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, draw: SampleIndex) -> Sample:
        return self.load_waveform(draw.row, self.copy_index(draw.epoch)), self.targets[draw.row], draw.padded

    def copy_index(self, epoch: int) -> int:
        """The copy that an epoch takes."""
        return epoch if self.copies is None else epoch % self.copies

    def load_waveform(self, row: int, copy: int) -> np.ndarray:
        """A copy of an utterance, (time,) float32 at 16 kHz."""
        waveform = audio.load_waveform(self.utterances[row])
        if not self.changes:
            return waveform
        return self.augment(waveform, np.random.default_rng([self.seed, copy, int(self._content(row), 16)]))

    def cache_key(self, row: int, copy: int) -> str:
        """By which a copy is found in the store of frozen frames."""
        content = self._content(row)
        if not self.changes:
            return content
        return make_utterance_key(content.encode(), None, None, json.dumps([*self._facts, copy]))

    def _content(self, row: int) -> str:
        if row not in self._of_rows:
            self._of_rows[row] = self._contents.digest(self.utterances[row])
        return self._of_rows[row]


class BatchCollator:
    """Draws to `labels` (batch, targets), `lengths` (batch,) and, of waveforms, `features` (batch, ...).

    Of hidden states at a split, (frames, dim) each, `states` (batch, frames, dim) stands in place of `features`.
    """

    def __init__(self, model: SpeechModel) -> None:
        self.model = model

    def __call__(self, drawn: Sequence[Sample]) -> dict[str, Tensor]:
        heard, targets, padded = zip(*drawn, strict=True)
        labels = pad_targets(targets)
        if isinstance(heard[0], Tensor):
            hidden = frame_store.pad_states(heard, FEATURE_OUTPUT)
            return {"states": hidden.states, "lengths": hidden.lengths, "labels": labels}
        with self.model.use_padding(self.model.settings.pad_to_30s or any(padded)):
            inputs = self.model.encoder.prepare(heard)
        return {"features": inputs.features, "lengths": inputs.lengths, "labels": labels}
