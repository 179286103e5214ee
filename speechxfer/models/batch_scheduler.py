"""Batches the segments of many utterances, and returns the transcripts in the utterances' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from speechxfer.data.segmentation import AudioSegment
from speechxfer.errors import UserError
from speechxfer.models.base import SpeechModel
from speechxfer.models.inference import batch_by_seconds, iter_predictions
from speechxfer.models.segment_retry import SegmentFunction, SegmentRetry
from speechxfer.models.transcript import (
    OnUnreadable,
    SegmentPrediction,
    Transcript,
    TranscriptSegment,
    UnreadableAudio,
    find_majority_label,
    join_texts,
    report_unreadable,
)
from speechxfer.progress import ProgressCallback
from speechxfer.shapes import SAMPLE_RATE

POOL_BATCHES = 4  # batches of audio in memory at once, so that segments of similar length share a batch


class PendingUtterance:
    """An utterance whose segments are still being read or predicted.

    Args:
        name: the utterance's id.
        audio: the path as given, or as in the table.
        columns: columns of the transcript in addition to the hypothesis.
        is_classified: the segments get labels, of which the most frequent is the utterance's.
    """

    def __init__(self, name: str, audio: str, columns: dict[str, Any], *, is_classified: bool) -> None:
        self.id, self.audio, self.columns, self.is_classified = name, audio, columns, is_classified
        self.seconds = 0.0  # duration of the audio
        self.spans: list[tuple[float, float]] = []  # start and end of each segment, in seconds
        self.predictions: list[SegmentPrediction | None] = []  # of each segment; None: not yet predicted
        self.is_read, self.is_whole = False, False
        self.error: UserError | None = None

    @property
    def is_done(self) -> bool:
        return self.is_read and (self.error is not None or None not in self.predictions)

    @property
    def done_seconds(self) -> float:
        """Seconds of audio with a prediction."""
        both = zip(self.spans, self.predictions, strict=True)
        return sum(end - start for (start, end), prediction in both if prediction is not None)

    def make_transcript(self) -> Transcript | None:
        """Build the transcript up to the first segment without a prediction; None if there is nothing to return."""
        known = self.predictions.index(None) if None in self.predictions else len(self.predictions)
        if self.error is not None or not (self.is_done or known):
            return None
        segments = [
            _make_segment(start, end, prediction)
            for (start, end), prediction in zip(self.spans[:known], self.predictions[:known], strict=True)
            if prediction is not None
        ]
        texts = (segment.text for segment in segments)
        return Transcript(
            id=self.id,
            audio=self.audio,
            text=find_majority_label(segments) if self.is_classified else join_texts(texts),
            segments=segments,
            whole=self.is_whole,
            seconds=round(self.seconds or self.done_seconds, 3),
            columns=self.columns,
            complete=self.is_done,
        )


class BatchScheduler:
    """Collects segments, predicts them in batches of similar length, and returns finished utterances in order.

    Args:
        batch_seconds: audio in one batch, in seconds.
        on_bad: called with each utterance whose audio cannot be read; without it the error is raised.
        progress: called with (seconds of audio done, total seconds); the caller sets `total_seconds`.
        fn: applied to the waveforms of a batch instead of `model.predict`.
        retry: decodes segments again whose text is too short or too long (default: none is).
    """

    def __init__(
        self,
        model: SpeechModel,
        batch_seconds: float,
        *,
        on_bad: OnUnreadable | None = None,
        progress: ProgressCallback | None = None,
        fn: SegmentFunction | None = None,
        retry: SegmentRetry | None = None,
    ) -> None:
        self.retry = retry
        self.model, self.batch_seconds, self.on_bad, self.progress, self.fn = model, batch_seconds, on_bad, progress, fn
        self.total_seconds = 0.0
        self._utterances: deque[PendingUtterance] = deque()  # not yet returned, in order
        self._segments: list[tuple[PendingUtterance, int, np.ndarray]] = []  # without a prediction
        self._pending_seconds = 0.0
        self._returned_seconds = 0.0

    def add_utterance(self, utterance: PendingUtterance) -> None:
        self._utterances.append(utterance)

    def add_segment(self, utterance: PendingUtterance, segment: AudioSegment) -> None:
        self._segments.append((utterance, len(utterance.predictions), segment.waveform))
        self._pending_seconds += self._compute_cost(segment.waveform)
        utterance.spans.append((segment.start, segment.end))
        utterance.predictions.append(None)
        utterance.is_read = utterance.is_whole = segment.is_whole  # a whole file has no further segment

    def drop_segments(self, utterance: PendingUtterance) -> None:
        """Drop the pending segments of an utterance whose audio is damaged."""
        self._segments = [pending for pending in self._segments if pending[0] is not utterance]
        self._pending_seconds = sum(self._compute_cost(waveform) for _, _, waveform in self._segments)

    @property
    def is_full(self) -> bool:
        return self._pending_seconds >= POOL_BATCHES * self.batch_seconds * max(1, self.model.num_inflight)

    def predict_pending(self) -> None:
        """Predict all pending segments, in batches of similar length."""
        costs = [self._compute_cost(waveform) for _, _, waveform in self._segments]
        longest_first = sorted(range(len(costs)), key=lambda index: -len(self._segments[index][2]))
        batches = batch_by_seconds(longest_first, costs, self.batch_seconds)
        waveforms = ((batch, [self._segments[index][2] for index in batch]) for batch in batches)
        for batch, results in iter_predictions(self.model, waveforms, self.fn):
            for index, result in zip(batch, results, strict=True):
                utterance, number, _ = self._segments[index]
                is_text = isinstance(result, str)  # without `fn` the model's own prediction
                utterance.predictions[number] = SegmentPrediction(result) if is_text else result
            self._report_progress()
        if self.retry is not None:
            self._retry_segments(self.retry)
        self._segments, self._pending_seconds = [], 0.0

    def _retry_segments(self, retry: SegmentRetry) -> None:
        for utterance, number, waveform in self._segments:
            prediction = utterance.predictions[number]
            if prediction is not None:
                utterance.predictions[number] = retry.predict_again(waveform, prediction)

    def pop_finished(self) -> Iterator[Transcript]:
        """Remove the finished utterances at the front and yield their transcripts."""
        while self._utterances and self._utterances[0].is_done:
            utterance = self._utterances.popleft()
            self._returned_seconds += utterance.seconds
            if utterance.error is not None:
                report_unreadable(UnreadableAudio(utterance.id, utterance.audio, utterance.error), self.on_bad)
            elif (transcript := utterance.make_transcript()) is not None:
                yield transcript
        self._report_progress()

    def pop_partial(self) -> Iterator[Transcript]:
        """Yield the predictions so far of all utterances that are not yet returned."""
        transcripts = (utterance.make_transcript() for utterance in self._utterances)
        yield from (transcript for transcript in transcripts if transcript is not None)

    def _compute_cost(self, waveform: np.ndarray) -> float:
        return self.model.encoder.compute_padded_seconds(len(waveform) / SAMPLE_RATE)

    def _report_progress(self) -> None:
        if self.progress:
            pending = sum(min(utterance.seconds, utterance.done_seconds) for utterance in self._utterances)
            self.progress(round(self._returned_seconds + pending), max(1, round(self.total_seconds)))


def _make_segment(start: float, end: float, prediction: SegmentPrediction) -> TranscriptSegment:
    """Build a segment; times of words are shifted from the segment to the file."""
    words = None
    if prediction.words is not None:
        words = [replace(word, start=start + word.start, end=min(end, start + word.end)) for word in prediction.words]
    return TranscriptSegment(
        round(start, 3), round(end, 3), prediction.text, words, prediction.is_retried, prediction.probabilities
    )
