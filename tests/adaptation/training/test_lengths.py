"""Lengths and speaking rate of training examples, by hand counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxfer.adaptation.training.joining import JoinPlan
from speechxfer.adaptation.training.lengths import measure_training_lengths
from speechxfer.data.reader import read

RATE = 16_000


@pytest.fixture
def make_context(tmp_path):
    """make_context(seconds, join): a stage's context over tones of these lengths, each with a second of silence."""

    def make(seconds: list[float], join: JoinPlan | None = None) -> Any:
        lines = ["audio,text"]
        for number, length in enumerate(seconds):
            tone = np.sin(np.arange(round((length - 1) * RATE)) / 7)
            soundfile.write(tmp_path / f"{number}.wav", np.concatenate([tone, np.zeros(RATE)]), RATE)
            lines.append(f"{number}.wav,text")
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        dataset = SimpleNamespace(utterances=read(tmp_path / "t.csv"))
        model = SimpleNamespace(kind="seq2seq")
        return SimpleNamespace(durations=seconds, join_plan=join, seed=0, dataset=dataset, model=model)

    return make


def test_utterances_as_they_are(make_context) -> None:
    seconds = [2.0] * 19 + [4.0]
    found = measure_training_lengths(make_context(seconds), ["0123456789"] * 20)
    assert (found.usual_seconds, found.max_seconds) == (4.0, 4.0)  # the long one is a tenth of the audio
    assert found.characters_per_second == pytest.approx(200 / (19 * 1.15 + 3.15), rel=0.1)
    assert measure_training_lengths(make_context([2.0] * 79 + [4.0]), ["a"] * 80).usual_seconds == 2.0


def test_timestamps_are_not_characters(make_context) -> None:
    context = make_context([2.0, 3.0])
    assert measure_training_lengths(context, ["<|0.00|> one<|0.80|>"] * 2) == measure_training_lengths(
        context, ["one"] * 2
    )


def test_joined_utterances_are_long(make_context) -> None:
    plan = JoinPlan(1.0, 20.0, ["s"] * 40, [5] * 40)
    found = measure_training_lengths(make_context([2.0] * 40, plan), ["a"] * 40)
    assert 10 < found.usual_seconds <= found.max_seconds <= 20
