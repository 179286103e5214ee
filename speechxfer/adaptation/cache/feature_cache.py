"""What a stage leaves frozen is computed once: the training part's hidden states, encoded, kept, and read by epochs.

Training reads the same numbers with the store and without it: a copy of an utterance is augmented in one way, whoever
encodes it (`batches.TrainingDataset`), and SpecAugment acts above. Batches that are padded to 30 s for use in plain
transformers are drawn anew in every epoch, so they are encoded as they come.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from speechxfer import distributed
from speechxfer.adaptation.training.batching import Sample, SampleIndex, TrainingDataset, make_dataloader
from speechxfer.config import Recipe
from speechxfer.config.recipe import CacheConfig, StageConfig
from speechxfer.encoders.base import FEATURE_OUTPUT
from speechxfer.encoders.frame_store import FrameStore, get_frames_dir, make_utterance_key
from speechxfer.errors import UserError, summarize_out_of_memory
from speechxfer.models import SpeechModel, batch_by_seconds
from speechxfer.models.inference import BatchProgress
from speechxfer.report.progress import Reporter
from speechxfer.shapes import SAMPLE_RATE, Frames, Hidden, Inputs

MIN_READS_PER_ENCODING = 1.5  # times that each state must be read for each that has yet to be encoded
RESERVED_DISK_BYTES = 1 << 30  # of the disk, for checkpoints and for others
_PROBE_SECONDS = 2.0


class CachedDataset(Dataset):
    """As the utterances, but with hidden states, (frames, dim), in place of waveforms."""

    def __init__(self, utterances: TrainingDataset, model: SpeechModel, store: FrameStore) -> None:
        self.utterances, self.model, self.store = utterances, model, store

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, draw: SampleIndex) -> Sample:
        if draw.padded:
            return self.utterances[draw]
        copy = self.utterances.copy_index(draw.epoch)
        try:
            states = self.store.read(self.utterances.cache_key(draw.row, copy))
        except KeyError:  # another process made room: encoded once more, and not lost
            self.model.network.eval()  # until the step that this batch is for begins
            inputs = self.model.encoder.prepare([self.utterances.load_waveform(draw.row, copy)])
            states = encode_to_split(self.model, inputs, self.store.layer).states[0].cpu()
        return states, self.utterances.targets[draw.row], False


class CacheEstimate(NamedTuple):
    """What keeping a stage's frozen frames would take, and give."""

    num_copies: int
    num_utterances: int
    megabytes: float  # of all copies
    num_reads: int  # utterances that the stage's epochs draw

    def is_worthwhile(self, missing: int) -> bool:
        return self.num_reads >= MIN_READS_PER_ENCODING * missing


def count_augmented_copies(cache: CacheConfig, split: int) -> int | None:
    """How many augmented copies a stage's epochs take in turn; None, another every epoch, where none could be kept."""
    return cache.copies if split > FEATURE_OUTPUT or cache.features else None


def is_cacheable(cache: CacheConfig, split: int) -> bool:
    """Whether the recipe lets a stage with this split keep its frozen frames."""
    return cache.use != "never" and count_augmented_copies(cache, split) is not None


def estimate_cache(
    stage: StageConfig,
    split: int,
    model: SpeechModel,
    utterances: TrainingDataset,
    seconds: Sequence[float],
    cache: CacheConfig,
) -> CacheEstimate:
    """Size and use of a stage's frozen frames, from a probe of `_PROBE_SECONDS` of silence."""
    epochs = math.ceil(stage.epochs)
    copies = min(epochs, utterances.copies or epochs) if utterances.changes else 1
    silence = np.zeros(round(_PROBE_SECONDS * SAMPLE_RATE), np.float32)
    probe = encode_to_split(model, model.encoder.prepare([silence]), split).states
    width = 2 if cache.dtype == "float16" else 4
    a_second = probe.numel() * width / model.encoder.compute_padded_seconds(_PROBE_SECONDS)
    speeds = utterances.augment.settings.speed or [1.0]
    slower = sum(1 / speed for speed in speeds) / len(speeds)
    megabytes = copies * a_second * slower * sum(_padded_audio_seconds(model, seconds)) / 1e6
    return CacheEstimate(copies, len(utterances), megabytes, epochs * len(utterances))


def check_cache_fits(wanted: CacheEstimate, missing: int, cache: CacheConfig) -> None:
    """Raise UserError where the frames would pass `cache.max_gb`, or those yet to be written the disk."""
    if wanted.megabytes > cache.max_gb * 1e3:
        raise UserError(
            f"the frozen frames of this stage take about {wanted.megabytes / 1e3:.3g} GB, "
            f"and {cache.max_gb:g} GB are allowed",
            where="cache.max_gb",
            fix="allow more, say cache.dtype=float16, or fewer cache.copies",
        )
    new = wanted.megabytes * missing / (wanted.num_copies * wanted.num_utterances)
    free = shutil.disk_usage(next(path for path in (get_frames_dir(), *get_frames_dir().parents) if path.exists())).free
    if new * 1e6 + RESERVED_DISK_BYTES > free:
        raise UserError(
            f"the frozen frames of this stage take about {new:,.0f} MB, and {free / 1e6:,.0f} MB are free",
            where=str(get_frames_dir()),
            fix="make room, set SPEECHXFER_FRAMES to another folder, or say cache.use=never",
        )


def validate_cache_budget(
    stage: StageConfig,
    split: int,
    model: SpeechModel,
    utterances: TrainingDataset,
    seconds: Sequence[float],
    cache: CacheConfig,
) -> None:
    """Raise now what `cache_features` would raise after hours, under `cache.use: always`."""
    if cache.use == "always" and is_cacheable(cache, split):
        check_cache_fits(estimate_cache(stage, split, model, utterances, seconds, cache), 0, cache)


def cache_features(
    stage: StageConfig,
    split: int,
    model: SpeechModel,
    utterances: TrainingDataset,
    seconds: Sequence[float],
    recipe: Recipe,
    narrator: Reporter,
    title: str,
) -> TrainingDataset | CachedDataset:
    """The utterances with their frozen frames encoded and kept, or as they are where that is not to be or does not pay.

    `cache.use: auto` goes on without the store, and says why, where the frames do not fit or cannot be kept; `always`
    raises the UserError. What an interrupted encoding kept is not encoded again.
    """
    cache = recipe.cache
    if not is_cacheable(cache, split):
        return utterances
    store: FrameStore | None = None
    batch_seconds = recipe.decoding.batch_seconds
    try:
        wanted = estimate_cache(stage, split, model, utterances, seconds, cache)
        found = FrameStore(
            model.encoder,
            split,
            dtype=getattr(torch, cache.dtype),
            max_bytes=cache.max_gb * 1e9,
            name=Path(recipe.encoder.name).name,
        )
        every = wanted.num_copies * wanted.num_utterances
        if cache.use == "always" or found.path.is_dir() or wanted.is_worthwhile(every):
            check_cache_fits(wanted, 0, cache)  # before a large corpus is read to know its keys
            keys = [
                [utterances.cache_key(row, copy) for row in range(len(utterances))] for copy in range(wanted.num_copies)
            ]
            found.needed = {key for named in keys for key in named}
            missing = len(found.find_missing(found.needed))
            if cache.use == "always" or wanted.is_worthwhile(missing):
                check_cache_fits(wanted, missing, cache)
                size = wanted.megabytes * missing / every
                told = f"of {missing:,} utterances, about {size:,.0f} MB in" if missing else "were computed before, in"
                narrator.info(f"{title}: frozen frames {told} {found.path}")
                store = found
        if store is not None:
            with narrator.progress(f"{title}, encoding") as progress:
                every_process = (distributed.get_rank(), distributed.get_world_size())
                fill_frame_store(store, model, utterances, keys, seconds, batch_seconds, progress, every_process)
            if store.removed:
                narrator.info(f"{title}: made room under cache.max_gb: {', '.join(store.removed)} removed")
    except UserError as error:
        if cache.use == "always":
            raise
        if store is not None:
            store.remove()  # a disk that filled: what training has yet to save comes first
        narrator.info(f"{title}: trains without kept frames: {error}")
        store = None
    kept = distributed.gather_from_all({distributed.get_rank(): store is not None})
    if store is None or not all(kept.values()):  # all train from kept frames, or none
        return utterances
    # what the other processes have encoded; where other machines keep theirs to themselves, it is missing here
    for share in (distributed.get_local_rank(), (0, 1)):
        store.refresh()
        with suppress(UserError):  # a disk that fills here: what is missing is encoded as it is drawn
            fill_frame_store(store, model, utterances, keys, seconds, batch_seconds, lambda *_: None, share)
        distributed.wait_for_all()
    # beside a GPU batches are made by processes that cannot encode what is missing
    whole = model.device.type != "cuda" or store.pin(store.needed)
    if not all(distributed.gather_from_all({distributed.get_rank(): whole}).values()):
        narrator.info(f"{title}: trains without kept frames: not all could be kept")
        return utterances
    return CachedDataset(utterances, model, store)


def fill_frame_store(
    store: FrameStore,
    model: SpeechModel,
    utterances: TrainingDataset,
    keys: list[list[str]],
    seconds: Sequence[float],
    batch_seconds: float,
    progress: BatchProgress,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Encode and keep what the store lacks, copy by copy, longest first. keys: of each copy, one a row.

    share: (k, n): every n-th batch, from the k-th: what is this process's to do.

    The batches follow from the whole part and not from what is missing, and a batch is encoded whole: a run that goes
    on after an interruption gets the very numbers that it would have got. Whatever ends it, what is encoded is kept.
    """
    done = 0
    longest_first = sorted(range(len(utterances)), key=lambda row: -seconds[row])
    batches = list(batch_by_seconds(longest_first, _padded_audio_seconds(model, seconds), batch_seconds))
    batches = batches[share[0] :: share[1]]
    lacking = [
        _Batch(copy, batch)
        for copy, named in enumerate(keys)
        for batch in batches
        if store.find_missing(named[row] for row in batch)
    ]
    of = len(store.find_missing(keys[copy][row] for copy, batch in lacking for row in batch))
    prepared = make_dataloader(
        _PreparedBatches(model, utterances, lacking), model.device.type, batch_size=None
    )  # batches already
    try:
        for (copy, batch), inputs in zip(lacking, prepared, strict=True):
            missing = store.find_missing(
                keys[copy][row] for row in batch
            )  # fewer, where another process was here meanwhile
            if missing:
                hidden = encode_to_split(model, inputs, store.layer)
                place = {keys[copy][row]: place for place, row in enumerate(batch)}
                rows = [place[key] for key in missing]
                store.add(missing, Hidden(hidden.states[rows], hidden.lengths[rows], hidden.layer))
                done += len(missing)
                progress(done, of)
    except torch.cuda.OutOfMemoryError as error:
        fix = f"say less than {batch_seconds:g}"
        problem = f"out of GPU memory ({summarize_out_of_memory(error)})"
        raise UserError(problem, where="decoding.batch_seconds", fix=fix) from None
    finally:
        store.flush()


class _Batch(NamedTuple):
    copy: int
    rows: list[int]


class _PreparedBatches(Dataset):
    """Batches decoded, augmented and prepared: beside a GPU by processes that run ahead of it."""

    def __init__(self, model: SpeechModel, utterances: TrainingDataset, batches: list[_Batch]) -> None:
        self.model, self.utterances, self.batches = model, utterances, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> Inputs:
        copy, rows = self.batches[place]
        return self.model.encoder.prepare([self.utterances.load_waveform(row, copy) for row in rows])


@contextmanager
def cache_eval_features(model: SpeechModel, drawn: TrainingDataset | CachedDataset) -> Iterator[None]:
    """While open, the model's answers read the frozen states of what it heard before, where a stage keeps its own.

    Not from a store in half precision: rounded states could answer otherwise than the model itself.
    """
    if not isinstance(drawn, CachedDataset) or drawn.store.dtype != torch.float32:
        yield
        return
    store = drawn.store

    def heard(waveforms: Sequence[np.ndarray]) -> Frames:
        keys = [make_utterance_key(waveform.tobytes(), None, None, "heard") for waveform in waveforms]
        try:
            hidden = store.get(keys)
        except KeyError:
            hidden = encode_to_split(model, model.encoder.prepare(waveforms), store.layer)
            with suppress(UserError):  # a disk that fills here costs time, and nothing else
                store.add(keys, hidden)
        on_device = Hidden(hidden.states.to(model.device), hidden.lengths.to(model.device), hidden.layer)
        return model.encoder.forward_from(on_device)

    model.heard = heard
    try:
        yield
    finally:
        model.heard = None
        with suppress(UserError):
            store.flush()


@torch.no_grad()
def encode_to_split(model: SpeechModel, inputs: Inputs, split: int) -> Hidden:
    """Hidden states at a split, in float32 on every device.

    The model is one that a stage has begun with (`StagedModule.begin`): what lies below the split is in eval mode.
    """
    return model.encoder.forward_to(inputs.to(model.device), split)


def _padded_audio_seconds(model: SpeechModel, seconds: Sequence[float]) -> list[float]:
    """Seconds that the encoder hears, of those with their silence: Whisper's padding to 30 s counts."""
    return [max(one, model.encoder.compute_padded_seconds(0.0)) for one in seconds]
