"""A detector, or another engine's detections, against clips of the word and streams of other speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile

from speechxfer.data.audio import load_waveform
from speechxfer.data.augment import add_noise
from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import Row, read_positives, read_rows
from speechxfer.wakeword.evaluation.metrics import (
    SECONDS_PER_HOUR,
    DetectionEvaluation,
    DetectionMetrics,
    ScoredRecording,
    compute_metrics,
)
from speechxfer.wakeword.evaluation.streams import GAP_SECONDS, PlacedRow, PlayedStream, score_clips, score_row_stream
from speechxfer.wakeword.runtime.detector import DETECTOR_ONNX_FILE, DetectorArtifact, Scorer
from speechxfer.wakeword.runtime.events import Event, LabelledWord, Scores, Trigger
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

CLEAN_CONDITION = "as recorded"


@dataclass
class DetectorReport:
    """figures: of the clips as recorded and all streams. by: column to value to figures, of the clips alone.

    clips: id to row. curve: the DET curve's rows, none for another engine's detections.
    """

    word: str
    metrics: DetectionMetrics
    curve: list[dict[str, Any]]
    by: dict[str, dict[str, DetectionMetrics]]
    streams: list[PlayedStream]
    clips: dict[str, Row] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The contract's keys, `by`, and what was missed and fired on."""
        return {
            "word": self.word,
            **self.metrics.to_json(),
            "curve": self.curve,
            "by": {
                column: {value: found.to_json() for value, found in parts.items()} for column, parts in self.by.items()
            },
            "missed": list(self.metrics.missed),
            "fired_on": [self._fired(name, event) for name, event in self.metrics.false_alarm_events],
        }

    def _fired(self, name: str, event: Event) -> dict[str, Any]:
        place = self.locate_event(name, event)
        found: dict[str, Any] = {"stream": name, "time": round(event.time, 3), "score": event.score}
        if place is not None:
            found |= {"row": str(place.row["id"]), "time_in_row": round(event.time - place.start, 3)}
        return found

    def locate_event(self, name: str, event: Event) -> PlacedRow | None:
        """The row of a stream that was playing at an event."""
        return next((s.find_row(event) for s in self.streams if s.recording.name == name), None)


def evaluate_detector(
    artifact: DetectorArtifact,
    narrator: Reporter,
    *,
    positives: str | None = None,
    streams: Sequence[str] = (),
    snrs: Sequence[float] = (),
    trigger: Trigger | None = None,
    seed: int = 0,
) -> DetectorReport:
    """Play clips and streams to a detector. snrs: the clips again, with noise at each of these ratios (dB).

    Raises UserError for what cannot be read, and where neither clips nor streams are given.
    """
    _need_something(positives, streams)
    trigger = trigger or artifact.trigger
    scorer = Scorer(artifact.folder / DETECTOR_ONNX_FILE)
    rows = read_positives(positives, artifact.word).rows if positives is not None else []
    with narrator.progress("clips of the word") as told:
        clips = score_clips(scorer, rows, condition=CLEAN_CONDITION, progress=told)
    mixed: list[ScoredRecording] = []
    for snr in snrs:
        rng = np.random.default_rng([seed, round(10 * snr) + 1000])
        mixed += score_clips(scorer, rows, condition=f"noise at {snr:g} dB", mix=_noisy(snr, rng))
    played = []
    for name in streams:
        of_stream = read_rows(name)
        for note in _other_rates(name, of_stream):
            narrator.info(note)
        with narrator.progress("stream") as told:
            played.append(score_row_stream(scorer, of_stream, name, word=artifact.word, progress=told))
    evaluation = DetectionEvaluation([*clips, *(stream.recording for stream in played)])
    every = DetectionEvaluation([*clips, *mixed])
    by = {column: every.evaluate_by(trigger, column) for column in ("condition", "speaker")} if rows else {}
    return DetectorReport(
        word=artifact.word,
        metrics=evaluation.evaluate_at(trigger),
        curve=evaluation.make_det_curve(trigger),
        by={column: parts for column, parts in by.items() if len(parts) > 1},
        streams=played,
        clips={str(row["id"]): row for row in rows},
    )


def evaluate_detection_times(
    word: str,
    times: dict[str, list[Event]],
    *,
    positives: str | None = None,
    streams: Sequence[str] = (),
    tolerance: float = 1.0,
) -> DetectorReport:
    """Count another engine's detections. A clip's times, by its id, are from its own beginning; a stream's, by its
    name as given, have `GAP_SECONDS` seconds between rows.

    Raises UserError where `times` names none of the recordings.
    """
    _need_something(positives, streams)
    nothing = Scores(np.zeros(0), 1.0)
    rows = read_positives(positives, word).rows if positives is not None else []
    heard = []
    for row in rows:
        length = len(load_waveform(row)) / SAMPLE_RATE
        heard.append(
            ScoredRecording(str(row["id"]), nothing, (LabelledWord(0, length),), speaker=str(row.get("speaker") or ""))
        )
    played = []
    for name in streams:
        placed, at = [], 0.0
        for row in read_rows(name):
            length = len(load_waveform(row)) / SAMPLE_RATE
            placed.append(PlacedRow(row, at, at + length))
            at += length + GAP_SECONDS
        hours = sum(p.end - p.start for p in placed) / SECONDS_PER_HOUR
        played.append(PlayedStream(ScoredRecording(name, nothing, hours=hours), tuple(placed)))
    recordings = [*heard, *(stream.recording for stream in played)]
    known = {h.name for h in recordings}
    strangers = sorted(set(times) - known)
    if strangers:
        fix = "name clips by their id and streams as they are given"
        raise UserError(f"{len(strangers)} recordings are not among those played: {strangers[0]}, ...", fix=fix)
    found = compute_metrics(recordings, [times.get(h.name, []) for h in recordings], None, tolerance)
    return DetectorReport(word, found, [], {}, played, {str(row["id"]): row for row in rows})


def _other_rates(name: str, rows: Sequence[Row]) -> list[str]:
    """What is said of a stream at other rates than the detector's: it is resampled, and may lack the upper band."""
    rates: set[int] = set()
    for row in rows:
        try:
            rates.add(soundfile.info(str(row["path"])).samplerate)
        except (KeyError, soundfile.LibsndfileError):
            continue  # inside a table, or of a format that only `load` reads; what cannot be read at all, it names
    empty = {rate: f"; above {rate / 2000:g} kHz it is empty" if rate < SAMPLE_RATE else "" for rate in rates}
    return [f"{name}: {rate:,} Hz, resampled to {SAMPLE_RATE:,}{empty[rate]}" for rate in sorted(rates - {SAMPLE_RATE})]


def _noisy(snr: float, rng: np.random.Generator) -> Any:
    return lambda waveform: add_noise(waveform, snr, rng)


def _need_something(positives: str | None, streams: Sequence[str]) -> None:
    if positives is None and not streams:
        fix = "give --positives (clips of the word), --stream (speech without it), or both"
        raise UserError("there is nothing to evaluate on", fix=fix)
