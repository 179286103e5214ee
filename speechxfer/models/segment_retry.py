"""Decodes segments again if their text is far too short or far too long for their speech.

An adapted Whisper expects segments as long as its training utterances, and may leave out sentences of longer ones: a
text that is too short is decoded again in shorter cuts. It may also add words that are not in the audio (Koenecke et
al. 2024, arXiv 2402.08021): a text that is too long is decoded again from input padded to 30 s, as in pretraining.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from speechxfer.data.segmentation import find_cut, measure_speech_seconds
from speechxfer.models.transcript import SegmentPrediction, join_texts
from speechxfer.shapes import SAMPLE_RATE

SegmentFunction = Callable[[list[np.ndarray]], Sequence[SegmentPrediction]]
MIN_TEXT_SHARE = 0.5  # of the characters that the training texts have for as much speech
MIN_RETRY_SECONDS = 4.0  # shorter segments are not cut
MAX_TEXT_SHARE = 2.0  # of those characters; fast speech has up to 1.5 times as many
MAX_EXTRA_CHARACTERS = 20  # in addition: a few words in a moment of speech are not too long


class SegmentRetry:
    """Cuts a segment whose text is too short at its quietest point and predicts the parts, which may be cut again.

    Args:
        predict: predicts waveforms, (time,) float32 at 16 kHz.
        characters_per_second: of the training texts, per second of speech.
        predict_padded: predicts waveforms that are padded to 30 s (default: texts that are too long are kept).
    """

    def __init__(
        self, predict: SegmentFunction, characters_per_second: float, predict_padded: SegmentFunction | None = None
    ) -> None:
        self.predict, self.predict_padded = predict, predict_padded
        self.characters_per_second = characters_per_second

    def predict_again(self, waveform: np.ndarray, first: SegmentPrediction) -> SegmentPrediction:
        """Return the prediction of a segment, made again if the text of `first` is too short or too long."""
        if self.is_too_short(first.text, waveform):
            return self.predict_in_parts(waveform, first)
        if self.predict_padded is not None and self.is_too_long(first.text, waveform):
            (second,) = self.predict_padded([waveform])
            if second.text and len(second.text) < len(first.text):
                return second._replace(is_retried=True)
        return first

    def is_too_long(self, text: str, waveform: np.ndarray) -> bool:
        """Whether a segment has far more characters than its speech lets expect."""
        return len(text) > MAX_TEXT_SHARE * self._expect_characters(waveform) + MAX_EXTRA_CHARACTERS

    def is_too_short(self, text: str, waveform: np.ndarray) -> bool:
        """Whether a segment has far fewer characters than its speech lets expect."""
        if len(waveform) < MIN_RETRY_SECONDS * SAMPLE_RATE:
            return False
        return len(text) < MIN_TEXT_SHARE * self._expect_characters(waveform)

    def _expect_characters(self, waveform: np.ndarray) -> float:
        return self.characters_per_second * measure_speech_seconds(waveform, SAMPLE_RATE)

    def predict_in_parts(self, waveform: np.ndarray, first: SegmentPrediction) -> SegmentPrediction:
        """Predict the two parts of a segment; returns `first` if their text is not longer."""
        cut = find_cut(waveform, SAMPLE_RATE)
        parts = [waveform[:cut], waveform[cut:]]
        predictions = [
            self.predict_in_parts(part, prediction) if self.is_too_short(prediction.text, part) else prediction
            for part, prediction in zip(parts, self.predict(parts), strict=True)
        ]
        text = join_texts(prediction.text for prediction in predictions)
        if len(text) <= len(first.text):
            return first
        left, right = (prediction.words for prediction in predictions)
        words = None
        if left is not None and right is not None:
            shift = cut / SAMPLE_RATE
            words = [*left, *(replace(word, start=word.start + shift, end=word.end + shift) for word in right)]
        return SegmentPrediction(text, words, is_retried=True)
