"""Measures the lengths and the speaking rate of the training examples, which are stored with the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.joining import compute_joined_seconds
from speechxfer.data import audio
from speechxfer.data.segmentation import measure_speech_seconds
from speechxfer.models.base import TrainingLengths
from speechxfer.shapes import SAMPLE_RATE
from speechxfer.text.timestamps import strip_special_tokens

USUAL_SHARE = 0.95  # of the training audio
NUM_SAMPLED_UTTERANCES = 200  # for the speaking rate


def measure_training_lengths(context: StageContext, texts: Sequence[str]) -> TrainingLengths:
    """Measure the training examples of a stage, joined as in its first epoch. texts: of the training utterances.

    The examples of a classifier are measured without the silence around them.
    """
    if context.model.kind == "classify":
        return _measure_clips(context)
    lengths, plan = list(context.durations), context.join_plan
    if plan is not None:
        items = plan.draw(range(len(lengths)), lengths, np.random.default_rng([context.seed, 0, 3]))
        lengths = [compute_joined_seconds(rows, lengths) for rows in items]
    usual, longest = _find_usual_and_longest(lengths)
    utterances = context.dataset.utterances
    rows = range(0, len(utterances), max(1, len(utterances) // NUM_SAMPLED_UTTERANCES))
    speech = sum(measure_speech_seconds(audio.load_waveform(utterances[row]), SAMPLE_RATE) for row in rows)
    characters = sum(len(strip_special_tokens(texts[row])) for row in rows)
    return TrainingLengths(
        usual_seconds=usual,
        max_seconds=longest,
        characters_per_second=round(characters / max(speech, 0.1), 2),
    )


def _measure_clips(context: StageContext) -> TrainingLengths:
    padding = 2 * context.model.encoder.pad_silence
    usual, longest = _find_usual_and_longest([length - padding for length in context.durations])
    return TrainingLengths(usual_seconds=usual, max_seconds=longest, characters_per_second=0.0)


def _find_usual_and_longest(lengths: Sequence[float]) -> tuple[float, float]:
    """Return the length that examples with `USUAL_SHARE` of the audio do not exceed, and the maximum, in seconds."""
    in_order = np.sort(lengths)
    # weighted by duration: half of the audio may be in a tenth of the examples
    usual = in_order[np.searchsorted(np.cumsum(in_order), USUAL_SHARE * in_order.sum())]
    return max(round(float(usual), 2), 0.01), max(round(float(in_order[-1]), 2), 0.01)
