"""Batched inference over a dataset, with results in input order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from speechxfer import distributed
from speechxfer.data import audio
from speechxfer.data.collection import LANGUAGE_COLUMN
from speechxfer.errors import UserError, summarize_out_of_memory
from speechxfer.models.base import SpeechModel
from speechxfer.progress import ProgressCallback
from speechxfer.shapes import SAMPLE_RATE

PredictFunction = Callable[[list[np.ndarray]], Sequence[Any]]  # waveforms of a batch to one result each


def predict_all(
    model: SpeechModel,
    utterances: Dataset,
    *,
    fn: PredictFunction | None = None,
    batch_seconds: float = 120.0,
    progress: ProgressCallback | None = None,
    shared: bool = False,
) -> list[Any]:
    """Predict the text or label of every utterance, in the order of the table.

    Audio is decoded batch by batch. A batch has utterances of similar length and at most `batch_seconds` of audio, or
    a single longer utterance; with padding to 30 s, each utterance counts as 30 s. Memory is bounded, and the batch of
    the longest utterances runs first.

    Args:
        fn: applied to each batch of waveforms instead of `model.predict`.
        batch_seconds: audio in one batch, in seconds.
        progress: called with (utterances done, total utterances).
        shared: distribute the batches over the processes. Every process must call this with the same model and
            utterances, and gets all results; `progress` then counts the utterances of its own process.
    """
    # read row by row, so that audio stored in the table is never in memory all at once
    rows = utterances.select_columns([c for c in utterances.column_names if c != "text"])
    seconds = [audio.measure_duration(row) for row in rows]
    longest_first = sorted(range(len(rows)), key=lambda index: -seconds[index])
    padded = [model.encoder.compute_padded_seconds(duration) for duration in seconds]
    batches = [
        (language, batch)
        for language, indices in _group_by_language(utterances, longest_first).items()
        for batch in batch_by_seconds(indices, padded, batch_seconds)
    ]
    if shared:
        batches = batches[distributed.get_rank() :: distributed.get_world_size()]
    total = sum(len(batch) for _, batch in batches)
    predictions: dict[int, Any] = {}
    for language, group in itertools.groupby(batches, key=itemgetter(0)):
        loaded = ((batch, [audio.load_waveform(rows[index]) for index in batch]) for _, batch in group)
        for batch, results in iter_predictions(model.copy_with_language(language) if language else model, loaded, fn):
            predictions.update(zip(batch, results, strict=True))
            if progress:
                progress(len(predictions), total)
    if shared:
        predictions = distributed.gather_from_all(predictions)
    return [predictions[index] for index in range(len(rows))]


def _group_by_language(utterances: Dataset, order: Sequence[int]) -> dict[str, list[int]]:
    """Group row numbers by the language that the table of a row was given; "" is the model's own."""
    if LANGUAGE_COLUMN not in utterances.column_names:
        return {"": list(order)}
    languages = utterances[LANGUAGE_COLUMN][:]
    groups: dict[str, list[int]] = {}
    for index in order:
        groups.setdefault(languages[index], []).append(index)
    return groups


def iter_predictions(
    model: SpeechModel,
    batches: Iterable[tuple[list[int], list[np.ndarray]]],
    fn: PredictFunction | None = None,
) -> Iterator[tuple[list[int], Sequence[Any]]]:
    """Yield the indices of each batch with the results of `fn` or `model.predict` for its waveforms, in order.

    A model with background workers (`num_inflight` > 0) processes batches while the next ones are decoded. If a GPU
    runs out of memory the batch is split in two.

    Raises:
        UserError: if GPU memory is not enough for a single utterance.
    """
    if fn is not None or not model.num_inflight:
        for indices, waveforms in batches:
            yield indices, _predict_within_memory(fn or model.predict, waveforms)
        return
    submitted: deque[tuple[list[int], Callable[[], Sequence[Any]]]] = deque()
    for indices, waveforms in batches:
        submitted.append((indices, model.submit(waveforms)))
        if len(submitted) > model.num_inflight:
            indices, get_results = submitted.popleft()
            yield indices, get_results()
    for indices, get_results in submitted:
        yield indices, get_results()


def _predict_within_memory(fn: PredictFunction, waveforms: list[np.ndarray]) -> Sequence[Any]:
    try:
        return fn(waveforms)
    except torch.cuda.OutOfMemoryError as error:
        if len(waveforms) == 1:
            seconds, summary = len(waveforms[0]) / SAMPLE_RATE, summarize_out_of_memory(error)
            raise UserError(
                f"out of GPU memory with one utterance of {seconds:.1f} s ({summary})",
                where="device",
                fix="cut it with 'start' and 'end', use a smaller beam size, or use the CPU (device cpu)",
            ) from None
    torch.cuda.empty_cache()  # not in the handler: its error keeps the tensors of the failed call alive
    half = len(waveforms) // 2
    return [*_predict_within_memory(fn, waveforms[:half]), *_predict_within_memory(fn, waveforms[half:])]


def batch_by_seconds(order: Sequence[int], seconds: Sequence[float], max_seconds: float) -> Iterator[list[int]]:
    """Split `order` into batches whose padded length (longest utterance times count) is at most `max_seconds`."""
    batch: list[int] = []
    longest = 0.0
    for index in order:
        longest_with = max(longest, seconds[index])
        if batch and longest_with * (len(batch) + 1) > max_seconds:
            yield batch
            batch, longest_with = [], seconds[index]
        batch.append(index)
        longest = longest_with
    if batch:
        yield batch
