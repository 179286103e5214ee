"""A whole part through a model: batches by seconds, longest first, answers in the table's order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from speechxfer import distributed
from speechxfer.data import audio
from speechxfer.errors import UserError, summarize_out_of_memory
from speechxfer.models.base import SpeechModel
from speechxfer.shapes import SAMPLE_RATE

BatchProgress = Callable[[int, int], None]  # (utterances done, of how many)


def predict_all(
    model: SpeechModel,
    utterances: Dataset,
    *,
    ask: Callable[[list[Any]], Sequence[Any]] | None = None,
    batch_seconds: float = 120.0,
    progress: BatchProgress | None = None,
    shared: bool = False,
) -> list[Any]:
    """The model's text or label for every utterance, in the table's order.

    ask: what is asked of each batch of waveforms in place of `model.answer`. shared: every one of several processes is
    here, with the same model and utterances; each answers its share of the batches, which are those of one process, and
    all get all the answers. progress is then told of the share.

    Audio is decoded a batch at a time; a batch holds utterances of like length, at most `batch_seconds` together
    (or one longer utterance), so that memory is bounded and the longest, dearest batch comes first. Where Whisper pads
    to 30 s, an utterance counts as that.
    """
    # row by row: audio that is embedded in the table need not be in memory all at once
    rows = utterances.select_columns([c for c in utterances.column_names if c != "text"])
    seconds = [audio.measure_duration(row) for row in rows]
    longest_first = sorted(range(len(rows)), key=lambda index: -seconds[index])
    encoded = [model.encoder.compute_padded_seconds(one) for one in seconds]
    batches = list(batch_by_seconds(longest_first, encoded, batch_seconds))
    if shared:
        batches = batches[distributed.get_rank() :: distributed.get_world_size()]
    of = sum(map(len, batches))
    said: dict[int, Any] = {}
    for batch, texts in iter_predictions(
        model, ((batch, [audio.load_waveform(rows[i]) for i in batch]) for batch in batches), ask
    ):
        said.update(zip(batch, texts, strict=True))
        if progress:
            progress(len(said), of)
    if shared:
        said = distributed.gather_from_all(said)
    return [said[index] for index in range(len(rows))]


def iter_predictions(
    model: SpeechModel,
    batches: Iterable[tuple[list[int], list[np.ndarray]]],
    ask: Callable[[list[Any]], Sequence[Any]] | None = None,
) -> Iterator[tuple[list[int], Sequence[Any]]]:
    """The batches' places, each with what `ask` or the model answers to its waveforms, in order.

    A model with workers (`num_inflight`) is answering some while the audio of the next is decoded. A GPU that has no room for
    a batch gets half of it at a time. Raises UserError where it has none for one utterance.
    """
    if ask is not None or not model.num_inflight:
        for places, waveforms in batches:
            yield places, _predict_within_memory(ask or model.predict, waveforms)
        return
    begun: deque[tuple[list[int], Callable[[], Sequence[Any]]]] = deque()
    for places, waveforms in batches:
        begun.append((places, model.submit(waveforms)))
        if len(begun) > model.num_inflight:
            places, answers = begun.popleft()
            yield places, answers()
    for places, answers in begun:
        yield places, answers()


def _predict_within_memory(ask: Callable[[list[Any]], Sequence[Any]], waveforms: list[np.ndarray]) -> Sequence[Any]:
    try:
        return ask(waveforms)
    except torch.cuda.OutOfMemoryError as error:
        if len(waveforms) == 1:
            raise UserError(
                f"out of GPU memory with one utterance of {len(waveforms[0]) / SAMPLE_RATE:.1f} s ({summarize_out_of_memory(error)})",
                where="device",
                fix="cut it with 'start' and 'end', use fewer beams, or work on the CPU (device cpu)",
            ) from None
    torch.cuda.empty_cache()  # not in the handler, whose error holds on to the failed call's tensors
    half = len(waveforms) // 2
    return [*_predict_within_memory(ask, waveforms[:half]), *_predict_within_memory(ask, waveforms[half:])]


def batch_by_seconds(order: Sequence[int], seconds: Sequence[float], most: float) -> Iterator[list[int]]:
    """Cut `order` into batches whose padded length (longest times count) is at most `most` seconds."""
    batch: list[int] = []
    longest = 0.0
    for index in order:
        longest_with = max(longest, seconds[index])
        if batch and longest_with * (len(batch) + 1) > most:
            yield batch
            batch, longest_with = [], seconds[index]
        batch.append(index)
        longest = longest_with
    if batch:
        yield batch
