"""Evaluate a detector, or another engine's detections, on clips of the word and on streams of other speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from speechxfer.data.audio import get_audio_source, load_waveform
from speechxfer.data.audio_stream import open_audio
from speechxfer.data.augment import add_noise
from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import ClipRow, read_positives, read_rows
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
    """Result of an evaluation.

    metrics: of the clean clips and all streams. curve: rows of the DET curve, empty for another engine. by: column to
    value to metrics, of the clips only. clips: id to row.
    """

    word: str
    metrics: DetectionMetrics
    curve: list[dict[str, Any]]
    by: dict[str, dict[str, DetectionMetrics]]
    streams: list[PlayedStream]
    clips: dict[str, ClipRow] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the documented keys, `by`, and the missed clips and false alarms."""
        by = {column: {value: m.to_json() for value, m in groups.items()} for column, groups in self.by.items()}
        return {
            "word": self.word,
            **self.metrics.to_json(),
            "curve": self.curve,
            "by": by,
            "missed": list(self.metrics.missed),
            "fired_on": [self._describe_false_alarm(name, event) for name, event in self.metrics.false_alarm_events],
        }

    def locate_event(self, name: str, event: Event) -> PlacedRow | None:
        """Return the row of a stream during which, or after which, an event occurred."""
        return next((stream.find_row(event) for stream in self.streams if stream.recording.name == name), None)

    def _describe_false_alarm(self, name: str, event: Event) -> dict[str, Any]:
        place = self.locate_event(name, event)
        entry: dict[str, Any] = {"stream": name, "time": round(event.time, 3), "score": event.score}
        if place is not None:
            entry |= {"row": str(place.row["id"]), "time_in_row": round(event.time - place.start, 3)}
        return entry


def evaluate_detector(
    artifact: DetectorArtifact,
    reporter: Reporter,
    *,
    positives: str | None = None,
    streams: Sequence[str] = (),
    snrs: Sequence[float] = (),
    trigger: Trigger | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> DetectorReport:
    """Evaluate a detector on clips and streams.

    snrs: evaluate the clips also with noise at each of these signal-to-noise ratios (dB). trigger: (default: the
    calibrated one). columns: kind of column to its name in the tables. seed: of the noise.
    Raises: UserError for audio that cannot be read, or if neither clips nor streams are given.
    """
    _require_input(positives, streams)
    trigger = trigger or artifact.trigger
    scorer = Scorer(artifact.folder / DETECTOR_ONNX_FILE)
    rows = read_positives(positives, artifact.word, columns).rows if positives is not None else []
    for note in _describe_other_rates(str(positives), rows):
        reporter.info(note)
    with reporter.progress("clips of the word") as progress:
        clean = score_clips(scorer, rows, condition=CLEAN_CONDITION, progress=progress)
    noisy: list[ScoredRecording] = []
    for snr in snrs:
        mix = partial(add_noise, snr=snr, rng=np.random.default_rng([seed, round(10 * snr) + 1000]))
        noisy += score_clips(scorer, rows, condition=f"noise at {snr:g} dB", mix=mix)
    scored = [_score_stream(scorer, name, read_rows(name, columns), artifact.word, reporter) for name in streams]
    evaluation = DetectionEvaluation([*clean, *(stream.recording for stream in scored)])
    clips = DetectionEvaluation([*clean, *noisy])
    by = {column: clips.evaluate_by(trigger, column) for column in ("condition", "speaker")} if rows else {}
    return DetectorReport(
        word=artifact.word,
        metrics=evaluation.evaluate_at(trigger),
        curve=evaluation.make_det_curve(trigger),
        by={column: groups for column, groups in by.items() if len(groups) > 1},
        streams=scored,
        clips={str(row["id"]): row for row in rows},
    )


def evaluate_detection_times(
    word: str,
    times: dict[str, list[Event]],
    *,
    positives: str | None = None,
    streams: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    tolerance: float = 1.0,
) -> DetectorReport:
    """Evaluate another engine's detections.

    times: events by the id of a clip, in seconds from the clip's start, or by the name of a stream as given, with
    `GAP_SECONDS` seconds between its rows. columns: kind of column to its name in the tables.
    Raises: UserError if `times` names an unknown recording, or if neither clips nor streams are given.
    """
    _require_input(positives, streams)
    rows = read_positives(positives, word, columns).rows if positives is not None else []
    clips = [_label_clip(row) for row in rows]
    placed_streams = [_place_rows(name, read_rows(name, columns)) for name in streams]
    recordings = [*clips, *(stream.recording for stream in placed_streams)]
    unknown = sorted(set(times) - {recording.name for recording in recordings})
    if unknown:
        fix = "name clips by their id, and streams as given to --stream"
        raise UserError(f"{len(unknown)} recordings are not among the clips and streams: {unknown[0]}, ...", fix=fix)
    events = [times.get(recording.name, []) for recording in recordings]
    metrics = compute_metrics(recordings, events, None, tolerance)
    return DetectorReport(word, metrics, [], {}, placed_streams, {str(row["id"]): row for row in rows})


def _score_stream(scorer: Scorer, name: str, rows: list[ClipRow], word: str, reporter: Reporter) -> PlayedStream:
    for note in _describe_other_rates(name, rows):
        reporter.info(note)
    with reporter.progress("stream") as progress:
        return score_row_stream(scorer, rows, name, word=word, progress=progress)


def _label_clip(row: ClipRow) -> ScoredRecording:
    """Return a clip without scores, labelled as a whole."""
    words = (LabelledWord(0, _measure_seconds(row)),)
    return ScoredRecording(str(row["id"]), Scores(np.zeros(0), 1.0), words, speaker=str(row.get("speaker") or ""))


def _place_rows(name: str, rows: list[ClipRow]) -> PlayedStream:
    """Return a stream without scores and the position of its rows."""
    placed, start = [], 0.0
    for row in rows:
        seconds = _measure_seconds(row)
        placed.append(PlacedRow(row, start, start + seconds))
        start += seconds + GAP_SECONDS
    hours = sum(place.end - place.start for place in placed) / SECONDS_PER_HOUR
    return PlayedStream(ScoredRecording(name, Scores(np.zeros(0), 1.0), hours=hours), tuple(placed))


def _measure_seconds(row: ClipRow) -> float:
    return len(load_waveform(row)) / SAMPLE_RATE


def _describe_other_rates(name: str, rows: Sequence[ClipRow]) -> list[str]:
    """Return a note on each sampling rate other than the detector's; lower rates lack the upper band."""
    rates: set[int] = set()
    for row in rows:
        try:
            rates.add(open_audio(get_audio_source(row)).rate)
        except UserError:
            continue  # unreadable audio is reported when it is loaded
    band = {rate: f"; no content above {rate / 2000:g} kHz" if rate < SAMPLE_RATE else "" for rate in rates}
    return [
        f"{name}: {rate:,} Hz, resampled to {SAMPLE_RATE:,} Hz{band[rate]}" for rate in sorted(rates - {SAMPLE_RATE})
    ]


def _require_input(positives: str | None, streams: Sequence[str]) -> None:
    if positives is None and not streams:
        fix = "give --positives (clips of the word), --stream (speech without it), or both"
        raise UserError("nothing to evaluate on", fix=fix)
