"""Joined utterances: of one speaker, of all lengths up to the maximum, each utterance once, with joined targets."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.adaptation.training.batching import DurationBatchSampler, TrainingDataset
from speechxfer.adaptation.training.joining import (
    EpochPlan,
    JoinPlan,
    UtteranceJoiner,
    compute_joined_seconds,
    join_waveforms,
)
from speechxfer.config.recipe import AugmentConfig
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.reader import read
from speechxfer.models import load
from speechxfer.models.seq2seq import WhisperRecogniser

SECONDS = [2.0, 3.0, 4.0] * 40
SPEAKERS = [str(row % 4) for row in range(120)]


def make_plan(**changes: object) -> JoinPlan:
    values = {"share": 1.0, "max_seconds": 28.0, "groups": SPEAKERS, "num_targets": [10] * 120, **changes}
    return JoinPlan(**values)  # type: ignore[arg-type]


@given(st.floats(0, 1), st.integers(0, 2**16))
def test_each_utterance_is_used_once_and_with_its_speaker(share: float, seed: int) -> None:
    items = make_plan(share=share).draw(range(120), SECONDS, np.random.default_rng(seed))
    assert sorted(row for rows in items for row in rows) == list(range(120))
    assert all(len({SPEAKERS[row] for row in rows}) == 1 for rows in items)
    assert all(compute_joined_seconds(rows, SECONDS) <= 28 or len(rows) == 1 for rows in items)


def test_all_lengths_occur() -> None:
    rng = np.random.default_rng(0)
    plan = make_plan()
    lengths = [compute_joined_seconds(rows, SECONDS) for _ in range(20) for rows in plan.draw(range(120), SECONDS, rng)]
    counts, _ = np.histogram(lengths, bins=[0, 7, 14, 21, 28])
    assert counts.min() > 10


@pytest.mark.parametrize("changes, most", [({"max_targets": 25}, 2), ({"stretch": 4.0}, 3)])
def test_limits_of_the_model(changes: dict[str, float], most: int) -> None:
    items = make_plan(**changes).draw(range(120), SECONDS, np.random.default_rng(0))
    assert max(map(len, items)) == most


def test_batches_count_the_joined_seconds() -> None:
    sampler = DurationBatchSampler(SECONDS, max_seconds=60, epochs=2, seed=0, plan=EpochPlan(join=make_plan(share=0.5)))
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = [[(index.row, *index.others) for index in batch] for batch in sampler]
        assert len(batches) == len(sampler)
        for batch in batches:
            longest = max(compute_joined_seconds(rows, SECONDS) for rows in batch)
            assert longest * len(batch) <= 60 or len(batch) == 1
        assert sorted(row for batch in batches for rows in batch for row in rows) == list(range(120))


def test_a_sample_is_the_utterances_with_pauses_and_their_texts(corpus_table) -> None:
    rows = read(corpus_table)
    whisper = SimpleNamespace(prompt=[0], knows_timestamps=False, kind="seq2seq")
    whisper.join_targets = partial(WhisperRecogniser.join_targets, whisper)
    targets = [[row, 99] for row in range(len(rows))]
    augmenter = WaveformAugmenter(AugmentConfig())
    dataset = TrainingDataset(rows, targets, augmenter, 0, joiner=UtteranceJoiner(whisper))
    sampler = DurationBatchSampler(
        [1.0] * 4,
        max_seconds=30,
        epochs=1,
        seed=0,
        plan=EpochPlan(join=make_plan(groups=["a"] * 4, num_targets=[2] * 4)),
    )
    index = next(index for batch in sampler for index in batch if index.others)
    waveform, target, padded = dataset[index]
    used = (index.row, *index.others)
    singles = [audio.load_waveform(rows[row]) for row in used]
    assert target == [*used, 99] and not padded
    assert np.array_equal(waveform[: len(singles[0])], singles[0])
    assert np.array_equal(waveform[-len(singles[-1]) :], singles[-1])
    pauses = len(waveform) - sum(map(len, singles))
    assert 0.2 * 16_000 <= pauses / len(index.others) <= 0.8 * 16_000
    assert np.array_equal(dataset[index][0], waveform)


def test_waveforms() -> None:
    joined, spans = join_waveforms([np.ones(5, np.float32), 2 * np.ones(3, np.float32)], np.random.default_rng(0))
    length = len(joined)
    assert spans == [(0, 5 / 16_000), ((length - 3) / 16_000, length / 16_000)]
    assert joined[:5].tolist() == [1] * 5 and joined[-3:].tolist() == [2] * 3 and not joined[5:-3].any()
    assert joined.dtype == np.float32


def test_joined_targets_are_those_of_the_joined_text(tiny_whisper, make_encoder) -> None:
    for model in (load(tiny_whisper, device="cpu"), load(make_encoder("wav2vec2", words="one two six"), device="cpu")):
        targets = [model.encode_target(text) for text in ("one two", "six", "two")]
        assert model.join_targets(targets) == model.encode_target("one two six two")


def test_joined_examples_with_timestamps(timed_whisper) -> None:
    """Half of the joined examples have times; half of these are cut in the last utterance, which has a start only."""
    model = load(timed_whisper, device="cpu")
    waveforms = [np.full(round(seconds * 16_000), 0.1, np.float32) for seconds in (0.2, 0.1, 0.1)]
    targets = [model.encode_target(text) for text in ("one two", "<|0.00|> six<|0.10|>", "two")]
    end = targets[0][-1]
    plain = cut = 0
    for seed in range(200):
        waveform, target = UtteranceJoiner(model).join(waveforms, targets, np.random.default_rng(seed))
        names = model.processor.tokenizer.convert_ids_to_tokens(target)
        assert target[-1] == end and target.count(end) == 1
        times = [float(name[2:-2]) for name in names if name.startswith("<|") and name != "<|endoftext|>"]
        if not times:
            plain += 1
            assert target == model.encode_target("one two six two")
            continue
        assert names[0] == "<|0.00|>" and times[1] == 0.2 and times == sorted(times)
        if len(times) == 6:
            assert abs(times[-1] - len(waveform) / 16_000) <= 0.011
            assert names[-3:-1] == ["Ġtwo", names[-2]]
        else:
            cut += 1
            assert len(times) == 5 and names[-2] == f"<|{times[-1]:.2f}|>" and names[-4] == "Ġsix"
            assert times[-1] + 0.1 * 0.1 - 0.011 <= len(waveform) / 16_000 <= times[-1] + 0.9 * 0.1 + 0.011
    assert 80 <= plain <= 120 and 30 <= cut <= 70
