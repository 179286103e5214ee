"""Where clips and rows are placed in time, with a scorer that reports the loudness of each 10 ms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxfer.wakeword.data.clips import read_rows
from speechxfer.wakeword.evaluation.streams import score_clip, score_clips, score_row_stream, score_waveforms
from speechxfer.wakeword.runtime.events import Event, Scores

RATE = 16_000
STEP = 0.01


class Loudness:
    """Stands for a Scorer: a score per 10 ms, 1 where it is loud."""

    def reset(self) -> None:
        self.num_scores = 0

    def push(self, samples: np.ndarray) -> Scores:
        peaks = np.abs(samples[: len(samples) - len(samples) % 160]).reshape(-1, 160).max(axis=1, initial=0)
        first = STEP * self.num_scores
        self.num_scores += len(peaks)
        return Scores((peaks > 0.1).astype(float), STEP, first)


@pytest.fixture
def scorer() -> Any:
    return Loudness()


def beep(before: float, length: float, after: float) -> np.ndarray:
    tone = 0.5 * np.sin(np.arange(round(length * RATE)))
    return np.concatenate([np.zeros(round(before * RATE)), tone, np.zeros(round(after * RATE))]).astype(np.float32)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    for name, length in (("a", 0.5), ("b", 1.0)):
        soundfile.write(tmp_path / f"{name}.wav", beep(0.25, length, 0.25), RATE)
    (tmp_path / "t.csv").write_text("audio,label,speaker\na.wav,Juniper,anna\nb.wav,other,ben\n")
    return read_rows(tmp_path / "t.csv")


def test_a_clip_has_silence_around_it_and_the_word_ends_with_the_sound(scorer: Any) -> None:
    found = score_clip(scorer, beep(0.5, 0.6, 0.4), "a", mix=lambda waveform: 0 * waveform)
    assert len(found.scores.values) == 100 * (2.0 + 1.5 + 1.0) and not found.scores.values.any()
    (word,) = found.words
    assert (word.start, word.until) == (2.0, 3.5) and word.end == pytest.approx(2.0 + 1.1, abs=0.05)
    assert found.hours == 0


def test_clips_have_their_speaker_and_condition(scorer: Any, rows: list[dict[str, Any]]) -> None:
    reported: list[tuple[int, int]] = []
    found = score_clips(scorer, rows, condition="clean", progress=lambda *step: reported.append(step))
    assert [(f.speaker, f.condition, len(f.scores.values)) for f in found] == [
        ("anna", "clean", 400),
        ("ben", "clean", 450),
    ]
    assert reported == [(1, 2), (2, 2)]


def test_rows_follow_each_other_with_a_second_of_silence(scorer: Any, rows: list[dict[str, Any]]) -> None:
    found = score_row_stream(scorer, rows, "s", word="juniper")
    assert [(place.start, place.end) for place in found.placed] == [(0.0, 1.0), (2.0, 3.5)]
    assert np.flatnonzero(np.diff(found.recording.scores.values)).tolist() == [24, 74, 224, 324]
    assert [(word.start, word.until) for word in found.recording.words] == [(0.0, 1.0)]
    assert found.recording.hours == pytest.approx(2.5 / 3600)  # the silence does not count
    row = found.find_row(Event(2.5))
    assert row is not None and row.row["speaker"] == "ben"
    between = found.find_row(Event(1.9))
    assert between is not None and between.row["speaker"] == "anna"
    assert found.find_row(Event(-1.0)) is None


def test_waveforms_are_scored_as_rows_are(scorer: Any, rows: list[dict[str, Any]]) -> None:
    by_rows = score_row_stream(scorer, rows, "s").recording
    by_waveforms = score_waveforms(scorer, [beep(0.25, 0.5, 0.25), beep(0.25, 1.0, 0.25)], "s")
    assert np.array_equal(by_rows.scores.values, by_waveforms.scores.values)
    assert by_rows.hours == pytest.approx(by_waveforms.hours) and by_waveforms.words == ()
    assert len(score_waveforms(scorer, [], "s").scores.values) == 0
