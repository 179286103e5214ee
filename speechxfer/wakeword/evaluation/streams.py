"""What a detector is played: clips with silence around them, and utterances one after another, the state kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechxfer.data.audio import load_waveform
from speechxfer.wakeword.data.clips import Row, find_speech_bounds, holds_word, is_same_word
from speechxfer.wakeword.evaluation.metrics import SECONDS_PER_HOUR, ScoredRecording
from speechxfer.wakeword.runtime.detector import Scorer
from speechxfer.wakeword.runtime.events import Event, LabelledWord, Scores
from speechxfer.wakeword.runtime.features import SAMPLE_RATE, compute_mel_energies

LEAD_SECONDS, TAIL_SECONDS = 2.0, 1.0  # s of silence before and after a positive clip
GAP_SECONDS = 1.0  # s of silence between the utterances of a stream
MixFunction = Callable[[np.ndarray], np.ndarray]  # a waveform to the same one under other conditions
PlayProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class PlacedRow:
    """A row of a stream, and the seconds of the stream that it fills."""

    row: Row
    start: float
    end: float


@dataclass(frozen=True)
class PlayedStream:
    """A stream as it was heard, and which row was played when."""

    recording: ScoredRecording
    placed: tuple[PlacedRow, ...]

    def find_row(self, event: Event) -> PlacedRow | None:
        """The row that was playing, or the last one before."""
        before = [place for place in self.placed if place.start <= event.time]
        return before[-1] if before else None


def score_clip(
    scorer: Scorer, waveform: np.ndarray, name: str, *, speaker: str = "", mix: MixFunction | None = None
) -> ScoredRecording:
    """A clip that holds the word once, somewhere: (time,) samples. The word's end is told by the loudness, unmixed."""
    scorer.reset()
    sound = mix(waveform) if mix else waveform
    scores = [scorer.push(np.zeros(round(LEAD_SECONDS * SAMPLE_RATE), np.float32)), scorer.push(sound)]
    scores.append(scorer.push(np.zeros(round(TAIL_SECONDS * SAMPLE_RATE), np.float32)))
    _, end = find_speech_bounds(compute_mel_energies(waveform))
    word = LabelledWord(LEAD_SECONDS, LEAD_SECONDS + len(waveform) / SAMPLE_RATE, LEAD_SECONDS + end / 100)
    return ScoredRecording(name, _joined(scores), (word,), speaker=speaker)


def score_clips(
    scorer: Scorer,
    rows: Sequence[Row],
    *,
    mix: MixFunction | None = None,
    condition: str = "",
    progress: PlayProgress | None = None,
) -> list[ScoredRecording]:
    """Every row as a clip of the word. Raises UserError naming audio that cannot be read."""
    found = []
    for done, row in enumerate(rows, 1):
        heard = score_clip(scorer, load_waveform(row), str(row["id"]), speaker=str(row.get("speaker") or ""), mix=mix)
        found.append(replace(heard, condition=condition))
        if progress:
            progress(done, len(rows))
    return found


def score_row_stream(
    scorer: Scorer, rows: Sequence[Row], name: str, *, word: str = "", mix: MixFunction | None = None, condition: str = "",
    progress: PlayProgress | None = None,
) -> PlayedStream:  # fmt: skip
    """Rows one after another. A row whose `label` or `text` says `word` is labelled with it."""
    scorer.reset()
    scores: list[Scores] = []
    placed: list[PlacedRow] = []
    time = 0.0
    for done, row in enumerate(rows, 1):
        waveform = load_waveform(row)
        scores.append(scorer.push(mix(waveform) if mix else waveform))
        length = len(waveform) / SAMPLE_RATE
        placed.append(PlacedRow(row, time, time + length))
        scores.append(scorer.push(np.zeros(round(GAP_SECONDS * SAMPLE_RATE), np.float32)))
        time += length + round(GAP_SECONDS * SAMPLE_RATE) / SAMPLE_RATE
        if progress:
            progress(done, len(rows))
    hours = sum(place.end - place.start for place in placed) / SECONDS_PER_HOUR
    words = tuple(LabelledWord(place.start, place.end) for place in placed if word and _says(place.row, word))
    return PlayedStream(ScoredRecording(name, _joined(scores), words, hours=hours, condition=condition), tuple(placed))


def score_waveforms(scorer: Scorer, waveforms: Iterable[np.ndarray], name: str) -> ScoredRecording:
    """Waveforms without the word one after another, as `score_row_stream` plays rows."""
    scorer.reset()
    samples, scores = 0, [scorer.push(np.zeros(0, np.float32))]
    for waveform in waveforms:
        scores += [scorer.push(waveform), scorer.push(np.zeros(round(GAP_SECONDS * SAMPLE_RATE), np.float32))]
        samples += len(waveform)
    return ScoredRecording(name, _joined(scores), hours=samples / SAMPLE_RATE / SECONDS_PER_HOUR)


def _says(row: Row, word: str) -> bool:
    return is_same_word(str(row.get("label") or ""), word) or holds_word(str(row.get("text") or ""), word)


def _joined(pieces: Sequence[Scores]) -> Scores:
    return Scores(np.concatenate([piece.values for piece in pieces]), pieces[0].step, pieces[0].first)
