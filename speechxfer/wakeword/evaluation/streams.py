"""Run a detector on recordings: clips padded with silence, and utterances concatenated to a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechxfer.progress import ProgressCallback
from speechxfer.wakeword.data.clips import ClipRow, find_speech_bounds, load_waveforms, row_holds_word
from speechxfer.wakeword.evaluation.metrics import SECONDS_PER_HOUR, ScoredRecording
from speechxfer.wakeword.runtime.detector import FLUSH_SECONDS, Scorer
from speechxfer.wakeword.runtime.events import Event, LabelledWord, Scores
from speechxfer.wakeword.runtime.features import SAMPLE_RATE, compute_mel_energies

LEAD_SECONDS, TAIL_SECONDS = 2.0, FLUSH_SECONDS  # s of silence before and after a positive clip
GAP_SECONDS = 1.0  # s of silence between the utterances of a stream
MixFunction = Callable[[np.ndarray], np.ndarray]  # maps a waveform to the same one under other conditions


@dataclass(frozen=True)
class PlacedRow:
    """A row of a stream, and the seconds of the stream that it covers."""

    row: ClipRow
    start: float
    end: float


@dataclass(frozen=True)
class PlayedStream:
    """A scored stream and the position of each of its rows."""

    recording: ScoredRecording
    placed: tuple[PlacedRow, ...]

    def find_row(self, event: Event) -> PlacedRow | None:
        """Return the row during which, or after which, an event occurred."""
        earlier = [place for place in self.placed if place.start <= event.time]
        return earlier[-1] if earlier else None


def score_clip(
    scorer: Scorer, waveform: np.ndarray, name: str, *, speaker: str = "", mix: MixFunction | None = None
) -> ScoredRecording:
    """Score a clip, (time,) samples, that contains the word once; the word's end is located before `mix`."""
    scorer.reset()
    sound = mix(waveform) if mix else waveform
    scores = [scorer.push(_silence(LEAD_SECONDS)), scorer.push(sound), scorer.push(_silence(TAIL_SECONDS))]
    _, end = find_speech_bounds(compute_mel_energies(waveform))
    word = LabelledWord(LEAD_SECONDS, LEAD_SECONDS + len(waveform) / SAMPLE_RATE, LEAD_SECONDS + end / 100)
    return ScoredRecording(name, _concatenate(scores), (word,), speaker=speaker)


def score_clips(
    scorer: Scorer,
    rows: Sequence[ClipRow],
    *,
    mix: MixFunction | None = None,
    condition: str = "",
    progress: ProgressCallback | None = None,
) -> list[ScoredRecording]:
    """Score every row as a clip of the word.

    Raises: UserError naming audio that cannot be read.
    """
    recordings = []
    for done, (row, waveform) in enumerate(zip(rows, load_waveforms(rows), strict=True), 1):
        speaker = str(row.get("speaker") or "")
        recording = score_clip(scorer, waveform, str(row["id"]), speaker=speaker, mix=mix)
        recordings.append(replace(recording, condition=condition))
        if progress:
            progress(done, len(rows))
    return recordings


def score_row_stream(
    scorer: Scorer, rows: Sequence[ClipRow], name: str, *, word: str = "", progress: ProgressCallback | None = None
) -> PlayedStream:
    """Score rows as one stream. Rows whose `label` or `text` contains `word` are labelled with it."""
    scorer.reset()
    scores: list[Scores] = []
    placed: list[PlacedRow] = []
    time = 0.0
    gap = _silence(GAP_SECONDS)
    for done, (row, waveform) in enumerate(zip(rows, load_waveforms(rows), strict=True), 1):
        scores.append(scorer.push(waveform))
        length = len(waveform) / SAMPLE_RATE
        placed.append(PlacedRow(row, time, time + length))
        scores.append(scorer.push(gap))
        time += length + len(gap) / SAMPLE_RATE
        if progress:
            progress(done, len(rows))
    hours = sum(place.end - place.start for place in placed) / SECONDS_PER_HOUR
    words = tuple(LabelledWord(p.start, p.end) for p in placed if word and row_holds_word(p.row, word))
    return PlayedStream(ScoredRecording(name, _concatenate(scores), words, hours=hours), tuple(placed))


def score_waveforms(scorer: Scorer, waveforms: Iterable[np.ndarray], name: str) -> ScoredRecording:
    """Score waveforms without the word as one stream."""
    scorer.reset()
    num_samples, scores = 0, [scorer.push(np.zeros(0, np.float32))]
    for waveform in waveforms:
        scores += [scorer.push(waveform), scorer.push(_silence(GAP_SECONDS))]
        num_samples += len(waveform)
    return ScoredRecording(name, _concatenate(scores), hours=num_samples / SAMPLE_RATE / SECONDS_PER_HOUR)


def _silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def _concatenate(pieces: Sequence[Scores]) -> Scores:
    return Scores(np.concatenate([piece.values for piece in pieces]), pieces[0].step, pieces[0].first)
