"""What a detector is played: clips with silence around them, and utterances one after another, the state kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechxfer.data.audio import load
from speechxfer.wakeword.clips import Row, holds_word, same_word, speech_span
from speechxfer.wakeword.detector import Scorer
from speechxfer.wakeword.evaluation import SECONDS_AN_HOUR, Heard
from speechxfer.wakeword.events import Event, Scores, Word
from speechxfer.wakeword.features import RATE, mel_energies

LEAD, TAIL = 2.0, 1.0  # s of silence before and after a positive clip
BETWEEN = 1.0  # s of silence between the utterances of a stream
Mix = Callable[[np.ndarray], np.ndarray]  # a waveform to the same one under other conditions
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Placed:
    """A row of a stream, and the seconds of the stream that it fills."""

    row: Row
    start: float
    end: float


@dataclass(frozen=True)
class Stream:
    """A stream as it was heard, and which row was played when."""

    heard: Heard
    placed: tuple[Placed, ...]

    def row_at(self, event: Event) -> Placed | None:
        """The row that was playing, or the last one before."""
        before = [place for place in self.placed if place.start <= event.time]
        return before[-1] if before else None


def hear_clip(scorer: Scorer, waveform: np.ndarray, name: str, *, speaker: str = "", mix: Mix | None = None) -> Heard:
    """A clip that holds the word once, somewhere: (time,) samples. The word's end is told by the loudness, unmixed."""
    scorer.reset()
    sound = mix(waveform) if mix else waveform
    scores = [scorer.push(np.zeros(round(LEAD * RATE), np.float32)), scorer.push(sound)]
    scores.append(scorer.push(np.zeros(round(TAIL * RATE), np.float32)))
    _, end = speech_span(mel_energies(waveform))
    word = Word(LEAD, LEAD + len(waveform) / RATE, LEAD + end / 100)
    return Heard(name, _joined(scores), (word,), speaker=speaker)


def hear_clips(
    scorer: Scorer,
    rows: Sequence[Row],
    *,
    mix: Mix | None = None,
    condition: str = "",
    progress: Progress | None = None,
) -> list[Heard]:
    """Every row as a clip of the word. Raises UserError naming audio that cannot be read."""
    found = []
    for done, row in enumerate(rows, 1):
        heard = hear_clip(scorer, load(row), str(row["id"]), speaker=str(row.get("speaker") or ""), mix=mix)
        found.append(replace(heard, condition=condition))
        if progress:
            progress(done, len(rows))
    return found


def hear_stream(
    scorer: Scorer, rows: Sequence[Row], name: str, *, word: str = "", mix: Mix | None = None, condition: str = "",
    progress: Progress | None = None,
) -> Stream:  # fmt: skip
    """Rows one after another. A row whose `label` or `text` says `word` is labelled with it."""
    scorer.reset()
    scores: list[Scores] = []
    placed: list[Placed] = []
    time = 0.0
    for done, row in enumerate(rows, 1):
        waveform = load(row)
        scores.append(scorer.push(mix(waveform) if mix else waveform))
        length = len(waveform) / RATE
        placed.append(Placed(row, time, time + length))
        scores.append(scorer.push(np.zeros(round(BETWEEN * RATE), np.float32)))
        time += length + round(BETWEEN * RATE) / RATE
        if progress:
            progress(done, len(rows))
    hours = sum(place.end - place.start for place in placed) / SECONDS_AN_HOUR
    words = tuple(Word(place.start, place.end) for place in placed if word and _says(place.row, word))
    return Stream(Heard(name, _joined(scores), words, hours=hours, condition=condition), tuple(placed))


def hear_sounds(scorer: Scorer, waveforms: Iterable[np.ndarray], name: str) -> Heard:
    """Waveforms without the word one after another, as `hear_stream` plays rows."""
    scorer.reset()
    samples, scores = 0, [scorer.push(np.zeros(0, np.float32))]
    for waveform in waveforms:
        scores += [scorer.push(waveform), scorer.push(np.zeros(round(BETWEEN * RATE), np.float32))]
        samples += len(waveform)
    return Heard(name, _joined(scores), hours=samples / RATE / SECONDS_AN_HOUR)


def _says(row: Row, word: str) -> bool:
    return same_word(str(row.get("label") or ""), word) or holds_word(str(row.get("text") or ""), word)


def _joined(pieces: Sequence[Scores]) -> Scores:
    return Scores(np.concatenate([piece.values for piece in pieces]), pieces[0].step, pieces[0].first)
