"""Segments with too short texts are cut at pauses, those with too long texts padded, and predicted again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from speechxfer.data.segmentation import find_cut, measure_speech_seconds
from speechxfer.decoding.forced_alignment import WordTiming
from speechxfer.models.segment_retry import SegmentRetry
from speechxfer.models.transcript import SegmentPrediction

RATE = 16_000


def make_speech(*seconds: float, pause: float = 0.6) -> np.ndarray:
    """Tones of the given lengths with pauses between them."""
    silence = np.zeros(round(pause * RATE), np.float32)
    tones = [np.sin(np.arange(round(length * RATE)) / 7).astype(np.float32) for length in seconds]
    return np.concatenate([piece for tone in tones for piece in (tone, silence)][:-1])


class Recogniser:
    """Writes one sentence for each segment of up to `limit` seconds, and the first word only for longer ones."""

    def __init__(self, limit: float) -> None:
        self.limit, self.lengths = limit, list[float]()

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[SegmentPrediction]:
        self.lengths += [len(waveform) / RATE for waveform in waveforms]
        return [SegmentPrediction(self._write(waveform)) for waveform in waveforms]

    def _write(self, waveform: np.ndarray) -> str:
        count = round(4 * measure_speech_seconds(waveform, RATE)) if len(waveform) <= self.limit * RATE else 1
        return " ".join(["word"] * count)


def predict_all(retry: SegmentRetry, waveform: np.ndarray) -> SegmentPrediction:
    (first,) = retry.predict([waveform])
    return retry.predict_in_parts(waveform, first) if retry.is_too_short(first.text, waveform) else first


def test_a_long_segment_with_one_word_is_cut_until_all_is_written() -> None:
    recogniser = Recogniser(limit=7)
    waveform = make_speech(5, 5, 5, 5)
    found = predict_all(SegmentRetry(recogniser, 20.0), waveform)
    assert found.is_retried and 70 <= len(found.text.split()) <= 90
    assert max(recogniser.lengths[1:]) < len(waveform) / RATE


def test_a_segment_with_enough_text_is_left_alone() -> None:
    recogniser = Recogniser(limit=30)
    found = predict_all(SegmentRetry(recogniser, 20.0), make_speech(5, 5))
    assert not found.is_retried and len(recogniser.lengths) == 1


@pytest.mark.parametrize("waveform", [np.zeros(10 * RATE, np.float32), make_speech(3)])
def test_silence_and_short_segments_are_left_alone(waveform: np.ndarray) -> None:
    assert not SegmentRetry(Recogniser(0), 20.0).is_too_short("", waveform)


def test_parts_that_give_less_text_are_not_kept() -> None:
    first = SegmentPrediction("one two")
    retry = SegmentRetry(lambda waveforms: [SegmentPrediction("")] * len(waveforms), 20.0)
    assert retry.predict_in_parts(make_speech(5, 5), first) is first


def test_times_of_words_are_those_of_the_segment() -> None:
    def predict(waveforms: Sequence[np.ndarray]) -> list[SegmentPrediction]:
        return [SegmentPrediction("a" * 100, [WordTiming("a" * 100, 0.5, 1.0, 0.9)]) for _ in waveforms]

    waveform = make_speech(5, 5)
    found = SegmentRetry(predict, 20.0).predict_in_parts(waveform, SegmentPrediction(""))
    assert found.words is not None
    cut = find_cut(waveform, RATE) / RATE
    assert 5 < cut < 5.6
    assert [word.start for word in found.words] == [0.5, pytest.approx(cut + 0.5)]


def make_padded(text: str) -> SegmentRetry:
    """A retry for 20 characters per second that predicts `text` from padded input."""
    return SegmentRetry(Recogniser(30), 20.0, lambda waveforms: [SegmentPrediction(text)] * len(waveforms))


def test_a_text_far_too_long_is_predicted_again_from_padded_input() -> None:
    waveform, loop = make_speech(3), SegmentPrediction("word " * 60)  # 300 characters in 3 s
    found = make_padded("three words here").predict_again(waveform, loop)
    assert (found.text, found.is_retried) == ("three words here", True)
    for worse in ("", "word " * 70):
        assert make_padded(worse).predict_again(waveform, loop) is loop
    assert SegmentRetry(Recogniser(30), 20.0).predict_again(waveform, loop) is loop  # no padding: a CTC head


@pytest.mark.parametrize(("seconds", "characters", "is_too_long"), [(3, 120, False), (3, 160, True), (0.1, 23, False)])
def test_which_text_is_too_long(seconds: float, characters: int, is_too_long: bool) -> None:
    assert make_padded("").is_too_long("a" * characters, make_speech(seconds)) == is_too_long


def test_speech_is_what_is_not_far_below_the_loudest() -> None:
    assert measure_speech_seconds(make_speech(2, 3), RATE) == pytest.approx(5.3, abs=0.4)
    assert measure_speech_seconds(np.zeros(RATE, np.float32), RATE) == 0
    assert measure_speech_seconds(np.zeros(10, np.float32), RATE) == 0
