"""Feature cache: hidden states of the frozen layers, computed once, kept on disk and read by every epoch.

Training reads the same numbers with and without the cache: an augmented copy of an utterance is the same whichever
process encodes it (`batching.TrainingDataset`), and SpecAugment acts above the split. Batches padded to 30 s for use in
plain transformers differ in every epoch and are therefore not cached.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from speechxfer import distributed
from speechxfer.adaptation.training.batching import Sample, SampleIndex, TrainingDataset, make_dataloader
from speechxfer.adaptation.training.context import StageContext
from speechxfer.config.recipe import CacheConfig
from speechxfer.encoders.base import FEATURE_OUTPUT
from speechxfer.encoders.frame_store import FrameStore, get_frames_dir, make_utterance_key
from speechxfer.errors import UserError, summarize_out_of_memory
from speechxfer.models import SpeechModel, batch_by_seconds
from speechxfer.progress import ProgressCallback
from speechxfer.shapes import SAMPLE_RATE, Frames, Hidden, Inputs

MIN_READS_PER_ENCODING = 1.5  # reads per state to be encoded from which the cache is worthwhile
RESERVED_DISK_BYTES = 1 << 30  # of the disk, for checkpoints and other programs
_PROBE_SECONDS = 2.0


class CachedDataset(Dataset):
    """A `TrainingDataset` with hidden states, (frames, dim), in place of waveforms."""

    def __init__(self, dataset: TrainingDataset, model: SpeechModel, store: FrameStore) -> None:
        self.dataset, self.model, self.store = dataset, model, store

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: SampleIndex) -> Sample:
        if index.padded:
            return self.dataset[index]
        copy = self.dataset.copy_index(index.epoch)
        try:
            states = self.store.read(self.dataset.cache_key(index.row, copy))
        except KeyError:  # removed by another process that needed room: encode it again
            self.model.network.eval()  # until the training step of this batch
            inputs = self.model.encoder.prepare([self.dataset.load_waveform(index.row, copy)])
            states = encode_to_split(self.model, inputs, self.store.layer).states[0].cpu()
        return states, self.dataset.targets[index.row], False


class CacheEstimate(NamedTuple):
    """Size and use of a stage's cache. megabytes: of all copies. num_reads: utterances drawn in all epochs."""

    num_copies: int
    num_utterances: int
    megabytes: float
    num_reads: int

    def is_worthwhile(self, num_missing: int) -> bool:
        """Return whether the reads justify encoding `num_missing` utterances."""
        return self.num_reads >= MIN_READS_PER_ENCODING * num_missing


@dataclass
class _CachePlan:
    """A store and the keys that it must hold: of each augmented copy, one a row."""

    store: FrameStore
    keys: list[list[str]]


def count_augmented_copies(cache: CacheConfig, split: int) -> int | None:
    """Return the number of augmented copies per utterance; `None`: a new one in each epoch, which cannot be cached."""
    return cache.copies if split > FEATURE_OUTPUT or cache.features else None


def is_cacheable(cache: CacheConfig, split: int) -> bool:
    """Return whether the recipe allows a cache for a stage with this split."""
    return cache.use != "never" and count_augmented_copies(cache, split) is not None


def estimate_cache(context: StageContext) -> CacheEstimate:
    """Estimate the cache of a stage from a probe of `_PROBE_SECONDS` of silence."""
    dataset, model, cache = context.dataset, context.model, context.recipe.cache
    epochs = math.ceil(context.stage.epochs)
    num_copies = min(epochs, dataset.copies or epochs) if dataset.changes else 1
    silence = np.zeros(round(_PROBE_SECONDS * SAMPLE_RATE), np.float32)
    probe = encode_to_split(model, model.encoder.prepare([silence]), context.staged.split).states
    bytes_per_value = 2 if cache.dtype == "float16" else 4
    bytes_per_second = probe.numel() * bytes_per_value / model.encoder.compute_padded_seconds(_PROBE_SECONDS)
    speeds = dataset.augment.settings.speed or [1.0]
    mean_stretch = sum(1 / speed for speed in speeds) / len(speeds)
    total_seconds = sum(_padded_audio_seconds(model, context.durations))
    megabytes = num_copies * bytes_per_second * mean_stretch * total_seconds / 1e6
    return CacheEstimate(num_copies, len(dataset), megabytes, epochs * len(dataset))


def check_cache_fits(estimate: CacheEstimate, num_missing: int, cache: CacheConfig) -> None:
    """Check a stage's cache against `cache.max_gb` and the free disk space.

    Raises:
        UserError: if it is larger than either.
    """
    if estimate.megabytes > cache.max_gb * 1e3:
        raise UserError(
            f"the cached features of this stage take about {estimate.megabytes / 1e3:.3g} GB, "
            f"and {cache.max_gb:g} GB are allowed",
            where="cache.max_gb",
            fix="increase it, or set cache.dtype=float16, or fewer cache.copies",
        )
    megabytes = estimate.megabytes * num_missing / (estimate.num_copies * estimate.num_utterances)
    existing = next(path for path in (get_frames_dir(), *get_frames_dir().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if megabytes * 1e6 + RESERVED_DISK_BYTES > free:
        raise UserError(
            f"the cached features of this stage take about {megabytes:,.0f} MB, and {free / 1e6:,.0f} MB are free",
            where=str(get_frames_dir()),
            fix="free disk space, set SPEECHXFER_FRAMES to another folder, or set cache.use=never",
        )


def validate_cache_budget(context: StageContext) -> None:
    """Check the cache budget before training (`cache.use: always`), instead of after hours.

    Raises:
        UserError: as `cache_features` does.
    """
    cache = context.recipe.cache
    if cache.use == "always" and is_cacheable(cache, context.staged.split):
        check_cache_fits(estimate_cache(context), 0, cache)


def cache_features(context: StageContext) -> TrainingDataset | CachedDataset:
    """Encode a stage's frozen features and return a dataset that reads them.

    Returns the dataset as it is where a cache is not allowed, not worthwhile or (`cache.use: auto`, with a log line)
    does not fit. An interrupted encoding is continued.

    Raises:
        UserError: with `cache.use: always`, if the features do not fit or cannot be written.
    """
    dataset, cache, log = context.dataset, context.recipe.cache, context.reporter.info
    if not is_cacheable(cache, context.staged.split):
        return dataset
    plan: _CachePlan | None = None
    try:
        plan = _plan_cache(context)
        if plan is not None:
            share = (distributed.get_rank(), distributed.get_world_size())
            with context.reporter.progress(f"{context.title}, encoding") as progress:
                fill_frame_store(context, plan.store, plan.keys, progress, share)
            if plan.store.removed:
                log(f"{context.title}: removed other caches (cache.max_gb): {', '.join(plan.store.removed)}")
    except UserError as error:
        if cache.use == "always":
            raise
        if plan is not None:
            plan.store.remove()  # a full disk: checkpoints need the space
        log(f"{context.title}: training without cached features: {error}")
        plan = None
    has_plan = distributed.gather_from_all({distributed.get_rank(): plan is not None})
    if plan is None or not all(has_plan.values()):  # all processes use the cache, or none does
        return dataset
    if not _share_encodings(context, plan):
        log(f"{context.title}: training without cached features: not all could be cached")
        return dataset
    return CachedDataset(dataset, context.model, plan.store)


def _plan_cache(context: StageContext) -> _CachePlan | None:
    """Open the store of a stage, if a cache is worthwhile."""
    dataset, cache = context.dataset, context.recipe.cache
    estimate = estimate_cache(context)
    store = FrameStore(
        context.model.encoder,
        context.staged.split,
        dtype=getattr(torch, cache.dtype),
        max_bytes=cache.max_gb * 1e9,
        name=Path(context.recipe.encoder.name).name,
    )
    num_states = estimate.num_copies * estimate.num_utterances
    if cache.use != "always" and not store.path.is_dir() and not estimate.is_worthwhile(num_states):
        return None
    check_cache_fits(estimate, 0, cache)  # before a large corpus is read for its keys
    keys = [[dataset.cache_key(row, copy) for row in range(len(dataset))] for copy in range(estimate.num_copies)]
    store.protected_keys = {key for copy_keys in keys for key in copy_keys}
    num_missing = len(store.find_missing(store.protected_keys))
    if cache.use != "always" and not estimate.is_worthwhile(num_missing):
        return None
    check_cache_fits(estimate, num_missing, cache)
    megabytes = estimate.megabytes * num_missing / num_states
    state = f"encoding {num_missing:,} utterances, about {megabytes:,.0f} MB in" if num_missing else "cached in"
    context.reporter.info(f"{context.title}: frozen features: {state} {store.path}")
    return _CachePlan(store, keys)


def _share_encodings(context: StageContext, plan: _CachePlan) -> bool:
    """Make what the processes encoded available to all; returns whether every process can use the cache.

    On machines that do not share a disk, what the others encoded is encoded again.
    """
    store = plan.store
    for share in (distributed.get_local_rank(), (0, 1)):
        store.refresh()
        with suppress(UserError):  # a full disk: what is missing is encoded when it is read
            fill_frame_store(context, store, plan.keys, lambda *_: None, share)
        distributed.wait_for_all()
    # next to a GPU, batches are made by processes that cannot encode what is missing
    is_complete = context.model.device.type != "cuda" or store.pin(store.protected_keys)
    return all(distributed.gather_from_all({distributed.get_rank(): is_complete}).values())


def fill_frame_store(
    context: StageContext,
    store: FrameStore,
    keys: list[list[str]],
    progress: ProgressCallback,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Encode what the store lacks, copy by copy, longest utterances first.

    Batches are formed from all utterances and encoded whole, so that an interrupted and continued encoding gives the
    same numbers. What has been encoded is kept if an error or interrupt ends it.

    Args:
        keys: of each augmented copy, one a row.
        share: (k, n): every n-th batch from the k-th, the part of this process.
    """
    model, dataset, batch_seconds = context.model, context.dataset, context.recipe.decoding.batch_seconds
    longest_first = sorted(range(len(dataset)), key=lambda row: -context.durations[row])
    batches = list(batch_by_seconds(longest_first, _padded_audio_seconds(model, context.durations), batch_seconds))
    batches = batches[share[0] :: share[1]]
    incomplete = [
        _Batch(copy, batch)
        for copy, copy_keys in enumerate(keys)
        for batch in batches
        if store.find_missing(copy_keys[row] for row in batch)
    ]
    done, total = 0, len(store.find_missing(keys[copy][row] for copy, batch in incomplete for row in batch))
    prepared = make_dataloader(_PreparedBatches(model, dataset, incomplete), model.device.type, batch_size=None)
    try:
        for (copy, batch), inputs in zip(incomplete, prepared, strict=True):
            missing = store.find_missing(keys[copy][row] for row in batch)  # another process may have added some
            if missing:
                hidden = encode_to_split(model, inputs, store.layer)
                index_of = {keys[copy][row]: index for index, row in enumerate(batch)}
                rows = [index_of[key] for key in missing]
                store.add(missing, Hidden(hidden.states[rows], hidden.lengths[rows], hidden.layer))
                done += len(missing)
                progress(done, total)
    except torch.cuda.OutOfMemoryError as error:
        problem = f"out of GPU memory ({summarize_out_of_memory(error)})"
        fix = f"set it below {batch_seconds:g}"
        raise UserError(problem, where="decoding.batch_seconds", fix=fix) from None
    finally:
        store.flush()


class _Batch(NamedTuple):
    copy: int
    rows: list[int]


class _PreparedBatches(Dataset):
    """Decodes, augments and prepares batches; next to a GPU in worker processes that run ahead."""

    def __init__(self, model: SpeechModel, dataset: TrainingDataset, batches: list[_Batch]) -> None:
        self.model, self.dataset, self.batches = model, dataset, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Inputs:
        copy, rows = self.batches[index]
        return self.model.encoder.prepare([self.dataset.load_waveform(row, copy) for row in rows])


@contextmanager
def cache_eval_features(model: SpeechModel, dataset: TrainingDataset | CachedDataset) -> Iterator[None]:
    """While open, cache the frozen features of the waveforms that the model is evaluated on, if training has a cache.

    A half-precision store is not used, since rounded states could change predictions.
    """
    if not isinstance(dataset, CachedDataset) or dataset.store.dtype != torch.float32:
        yield
        return
    store = dataset.store

    def encode_cached(waveforms: Sequence[np.ndarray]) -> Frames:
        keys = [make_utterance_key(waveform.tobytes(), None, None, "heard") for waveform in waveforms]
        try:
            hidden = store.get(keys)
        except KeyError:
            hidden = encode_to_split(model, model.encoder.prepare(waveforms), store.layer)
            with suppress(UserError):  # a full disk costs time only
                store.add(keys, hidden)
        on_device = Hidden(hidden.states.to(model.device), hidden.lengths, hidden.layer)
        return model.encoder.forward_from(on_device)

    model.frame_source = encode_cached
    try:
        yield
    finally:
        model.frame_source = None
        with suppress(UserError):
            store.flush()


@torch.no_grad()
def encode_to_split(model: SpeechModel, inputs: Inputs, split: int) -> Hidden:
    """Compute the hidden states at a split, in float32 on every device.

    The layers below the split must be in eval mode (`StagedModule.apply_stage`).
    """
    return model.encoder.forward_to(inputs.to(model.device), split)


def _padded_audio_seconds(model: SpeechModel, durations: Sequence[float]) -> list[float]:
    """Return the seconds that the encoder processes: with Whisper's padding to 30 s where it applies."""
    return [max(duration, model.encoder.compute_padded_seconds(0.0)) for duration in durations]
