"""A whole part through a model: batches by seconds, longest first, answers in the table's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from datasets import Dataset

from speechxfer.data import audio
from speechxfer.models.base import SpeechModel

Progress = Callable[[int, int], None]  # (utterances done, of how many)


def answers(
    model: SpeechModel,
    utterances: Dataset,
    *,
    ask: Callable[[list[Any]], Sequence[Any]] | None = None,
    batch_seconds: float = 120.0,
    progress: Progress | None = None,
) -> list[Any]:
    """The model's text or label for every utterance, in the table's order.

    ask: what is asked of each batch of waveforms in place of `model.answer`.

    Audio is decoded a batch at a time; a batch holds utterances of like length, at most `batch_seconds` together
    (or one longer utterance), so that memory is bounded and the longest, dearest batch comes first. Where Whisper pads
    to 30 s, an utterance counts as that.
    """
    rows = list(utterances.select_columns([c for c in utterances.column_names if c != "text"]))
    seconds = [audio.seconds(row) for row in rows]
    longest_first = sorted(range(len(rows)), key=lambda index: -seconds[index])
    encoded = [model.encoder.seconds_run(one) for one in seconds]
    said: list[Any] = [None] * len(rows)
    done = 0
    for batch in cut_by_seconds(longest_first, encoded, batch_seconds):
        waveforms = [audio.load(rows[i]) for i in batch]
        for index, text in zip(batch, (ask or model.answer)(waveforms), strict=True):
            said[index] = text
        done += len(batch)
        if progress:
            progress(done, len(rows))
    return said


def cut_by_seconds(order: Sequence[int], seconds: Sequence[float], most: float) -> Iterator[list[int]]:
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
