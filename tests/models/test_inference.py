"""Batched inference: results in the order of the table, batches within their limits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.data.collection import LANGUAGE_COLUMN
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.models import (
    SpeechModel,
    batch_by_seconds,
    load,
    predict_all,
)
from speechxfer.models.inference import iter_predictions
from speechxfer.models.transcribe import transcribe


@given(
    seconds=st.lists(st.floats(0.01, 40), max_size=30),
    most=st.floats(0.5, 100),
    seed=st.integers(0, 9),
)
def test_batches_are_as_large_as_allowed(seconds, most, seed):
    order = np.random.default_rng(seed).permutation(len(seconds)).tolist()
    batches = list(batch_by_seconds(order, seconds, most))
    assert [index for batch in batches for index in batch] == order
    for batch in batches:
        assert len(batch) == 1 or max(seconds[i] for i in batch) * len(batch) <= most
    for batch, following in itertools.pairwise(batches):  # and as many as possible
        assert max(seconds[i] for i in [*batch, following[0]]) * (len(batch) + 1) > most


def test_results_are_in_the_table_s_order_for_all_batch_sizes(corpus_table, make_encoder):
    model, rows, done = load(make_encoder("wav2vec2", words="one two"), device="cpu"), read(corpus_table), []
    model.network.train()
    whole = predict_all(model, rows, batch_seconds=100, progress=lambda *step: done.append(step))
    assert model.network.training  # restored
    assert done[-1] == (18, 18)
    assert predict_all(model, rows, batch_seconds=0.1) == whole
    shuffled = rows.shuffle(seed=3)
    by_name = dict(zip(rows["id"], whole, strict=True))
    assert predict_all(model, shuffled, batch_seconds=2) == [by_name[name] for name in shuffled["id"]]
    assert len({*whole}) > 9  # the random head gives many different texts


@pytest.fixture(scope="module")
def model(two_second_whisper: Path) -> SpeechModel:
    return load(two_second_whisper, device="cpu")


def test_a_batch_too_large_for_the_gpu_is_halved(
    model: SpeechModel, few_rows: Path, monkeypatch: pytest.MonkeyPatch, record_batches: Any
) -> None:
    expected = [one.text for one in transcribe(model, few_rows)]
    real = model.predict

    def cramped(waveforms: Sequence[np.ndarray]) -> list[str]:
        if len(waveforms) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(waveforms)

    batches = record_batches(model, cramped)
    assert [one.text for one in transcribe(model, few_rows)] == expected
    assert max(map(len, batches)) == 6 and sum(len(batch) for batch in batches if len(batch) <= 2) == 6


def test_one_utterance_that_is_too_large_for_the_gpu(model: SpeechModel, few_rows: Path) -> None:
    def fail(waveforms: list[np.ndarray]) -> list[str]:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(UserError, match=r"device: out of GPU memory with one utterance of 0\.\d s"):
        predict_all(model, read(few_rows), fn=fail)


def test_a_model_with_workers_is_some_batches_ahead() -> None:
    class Worker:
        num_inflight = 2

        def __init__(self) -> None:
            self.log: list[str] = []

        def submit(self, waveforms: list[np.ndarray]) -> Callable[[], list[str]]:
            self.log.append(f"submit {len(waveforms)}")
            return lambda: self.read(len(waveforms))

        def read(self, count: int) -> list[str]:
            self.log.append(f"read {count}")
            return ["x"] * count

    worker: Any = Worker()
    batches = (([index] * index, [np.zeros(1, np.float32)] * index) for index in (1, 2, 3, 4))
    found = list(iter_predictions(worker, batches))
    assert found == [([index] * index, ["x"] * index) for index in (1, 2, 3, 4)]
    order = ["submit 1", "submit 2", "submit 3", "read 1", "submit 4", "read 2", "read 3", "read 4"]
    assert worker.log == order


def test_rows_of_another_language_are_predicted_in_it(corpus_table, make_whisper):
    german = load(make_whisper(seconds=2, multilingual=True), device="cpu", language="de")
    rows = read(corpus_table)
    languages = ["zh" if k % 3 else "" for k in range(len(rows))]
    by_language = {"": predict_all(german, rows), "zh": predict_all(german.copy_with_language("zh"), rows)}
    assert by_language[""] != by_language["zh"]
    done: list[tuple[int, int]] = []
    mixed = predict_all(german, rows.add_column(LANGUAGE_COLUMN, languages), progress=lambda *step: done.append(step))
    assert mixed == [by_language[language][k] for k, language in enumerate(languages)]
    assert done[-1] == (18, 18)
