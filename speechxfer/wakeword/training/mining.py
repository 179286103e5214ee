"""Between rounds of training: what the student fires on is listened to, and whether the target holds is counted.

The negatives are in three parts, by speakers (by files where those are not named): what is trained on and mined; what
`ValidationStream` plays, by which mining ends; what calibration plays. `ValidationStream`'s threshold comes from training's own sounds, by
calibration's rule for few hours, so that calibration's streams decide nothing before they are played.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from speechxfer.errors import MissingExtraError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import Row, holds_word
from speechxfer.wakeword.data.mixing import TrainingMixer
from speechxfer.wakeword.data.prepare import PreparedData, RecordedClip
from speechxfer.wakeword.evaluation.metrics import SECONDS_PER_HOUR, DetectionEvaluation
from speechxfer.wakeword.evaluation.streams import GAP_SECONDS, score_waveforms
from speechxfer.wakeword.model.student import FIRST_SCORE_SECONDS, FRAMES_PER_STEP, STEP_SECONDS, Student
from speechxfer.wakeword.runtime.detector import Scorer
from speechxfer.wakeword.runtime.events import Scores, Trigger, find_events, smooth_scores
from speechxfer.wakeword.runtime.features import NUM_MELS, SAMPLE_RATE, compute_mel_energies
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.calibration import choose_fallback_threshold
from speechxfer.wakeword.training.loop import MINING_SMOOTHING, compute_logits, compute_probabilities

_REFRACTORY = 2.0  # s, with which `ValidationStream` counts
_SUSPECTS = 20  # negatives that are listened to at once
_SILENT = -30.0  # a logit
_WHISPER = "whisper-tiny.en"


class ContaminationFilter:
    """Negatives on which the student fires as on the word itself: do they say it?

    Those whose text is known do not. Of the others those in which Whisper hears it are dropped and listed; where
    Whisper is not installed, all are listed as ones to listen to.
    """

    def __init__(self, word: str, narrator: Reporter) -> None:
        self.word, self.narrator = word, narrator
        self.dropped: list[str] = []
        self.unsure: list[str] = []
        self._whisper: Any = None

    def find_contaminated(self, rows: Sequence[Row], highest: Sequence[float], bar: float) -> list[int]:
        """Places of the rows in which Whisper hears the word, of those above the bar without a text; lists are kept."""
        order = [int(i) for i in np.argsort(highest)[::-1][:_SUSPECTS] if highest[i] > bar]
        order = [i for i in order if not rows[i].get("text")]
        said = []
        for place, text in zip(order, self._transcribed([rows[i] for i in order]) if order else [], strict=True):
            name = str(rows[place]["audio"])
            if text is not None and holds_word(text, self.word):
                said.append(place)
                if name not in self.dropped:
                    self.dropped.append(name)
                    self.narrator.info(f"left out of the negatives, for Whisper hears the word: {name}")
            elif name not in self.unsure:
                self.unsure.append(name)
        return said

    def _transcribed(self, rows: Sequence[Row]) -> list[str | None]:
        from speechxfer.data.audio import load_waveform
        from speechxfer.models.loading import load as load_model

        try:
            self._whisper = self._whisper or load_model(_WHISPER, device="cpu")
        except MissingExtraError:
            return [None] * len(rows)
        return [self._whisper.answer([load_waveform(row)])[0] for row in rows]


class ValidationStream:
    """Negatives that neither training nor calibration hears, one after another with silence between."""

    def __init__(self, sounds: Sequence[RecordedClip], target: float) -> None:
        self.target = target
        self.replace_sounds(sounds)

    def replace_sounds(self, sounds: Sequence[RecordedClip]) -> None:
        """Play these from now on."""
        self.sounds = list(sounds)
        silence = np.zeros(round(GAP_SECONDS * SAMPLE_RATE), np.float32)
        pieces = [piece for sound in self.sounds for piece in (sound.waveform, silence)]
        self._energies = compute_mel_energies(np.concatenate(pieces)) if pieces else np.zeros((0, NUM_MELS), np.float32)
        self._ends = np.cumsum([(len(sound.waveform) + len(silence)) / SAMPLE_RATE for sound in self.sounds]).tolist()
        self.hours = sum(len(sound.waveform) for sound in self.sounds) / SAMPLE_RATE / SECONDS_PER_HOUR

    @property
    def max_false_alarms(self) -> int:
        """The alarms that the target makes of these hours, rounded down: none where they are few."""
        return int(self.target * self.hours + 1e-9)

    def find_false_alarms(self, student: Student, threshold: float) -> list[int]:
        """The place of the sound that was playing, for every false alarm."""
        scores = Scores(
            compute_probabilities(compute_logits(student, self._energies)), STEP_SECONDS, FIRST_SCORE_SECONDS
        )
        events = find_events(scores, Trigger(threshold, MINING_SMOOTHING, _REFRACTORY))
        return [min(bisect_right(self._ends, event.time), len(self.sounds) - 1) for event in events]

    def count_false_alarms(self, scorer: Scorer, trigger: Trigger) -> int:
        """False alarms of the finished detector."""
        return (
            DetectionEvaluation([score_waveforms(scorer, [s.waveform for s in self.sounds], "check")])
            .evaluate_at(trigger)
            .false_alarms
        )


class MiningLoop:
    """What `train` asks after every round: does the target hold? Drops what says the word, and keeps every count."""

    def __init__(self, settings: WakeWordSettings, gathered: PreparedData, narrator: Reporter) -> None:
        self.gathered, self.narrator = gathered, narrator
        self.planned, self.most = settings.mining_rounds, settings.mining_rounds + settings.extra_rounds
        self.suspects = ContaminationFilter(settings.word, narrator)
        self.check = ValidationStream(gathered.validation, settings.false_alarms_per_hour)
        self.rounds: list[dict[str, Any]] = []

    def __call__(self, student: Student, material: TrainingMixer, logits: np.ndarray) -> bool:
        """logits: (steps,) of `material.negatives`, changed in place where a negative turns out to say the word."""
        bar, middle = self._positives(student)
        found: dict[str, Any] = {"round": len(self.rounds) + 1}
        found["negatives_like_the_median_positive"] = self._drop(material, logits, bar)
        loudest = float(smooth_scores(compute_probabilities(logits), MINING_SMOOTHING).max(initial=0.0))
        found |= self._count(student, choose_fallback_threshold(loudest, middle))
        self.rounds.append(found)
        return self.target_met

    @property
    def target_met(self) -> bool:
        """Whether the last round kept the target. Without anything to count on, it is taken for kept."""
        return not self.check.sounds or bool(self.rounds and self.rounds[-1]["alarms"] <= self.check.max_false_alarms)

    def drop_contaminated(self, student: Student) -> list[RecordedClip]:
        """Calibration's negatives less those that hold the word."""
        stream = self.gathered.held_out_stream
        if self.gathered.kind != "real":
            return stream
        highest = [
            float(compute_logits(student, compute_mel_energies(s.waveform)).max(initial=_SILENT)) for s in stream
        ]
        said = set(self.suspects.find_contaminated([s.row for s in stream], highest, self._positives(student)[0]))
        return [sound for place, sound in enumerate(stream) if place not in said]

    def to_json(self, scorer: Scorer, trigger: Trigger) -> dict[str, Any]:
        """For the manifest: every round's hours and alarms, why there was no further one, and the end's alarms."""
        return {
            "heard": "negatives that neither training nor calibration hears; threshold by training's own sounds",
            "hours": round(self.check.hours, 4),
            "alarms_allowed": self.check.max_false_alarms,
            "rounds": self.rounds,
            "stopped": self._stopped(),
            "alarms_at_the_calibrated_threshold": self.check.count_false_alarms(scorer, trigger)
            if self.check.sounds
            else None,
        }

    def _stopped(self) -> str:
        if not self.check.sounds:
            return "after the planned rounds: there were no negatives to check by"
        if self.target_met:
            return "the target held"
        return "after the most rounds" if len(self.rounds) >= self.most else "for time"

    def _drop(self, material: TrainingMixer, logits: np.ndarray, bar: float) -> int:
        """Silence the negatives that say the word; how many negatives are as loud as the median positive."""
        highest = [max(_highest(logits, *span) for span in spans) for spans in self.gathered.spans]
        rows = self.gathered.rows if self.gathered.kind == "real" else []
        for place in self.suspects.find_contaminated(rows, highest[: len(rows)], bar):
            for start, length in self.gathered.spans[place]:
                material.negatives[start : start + length] = 0
                logits[start // FRAMES_PER_STEP : (start + length) // FRAMES_PER_STEP] = _SILENT
        return int(np.sum(np.array(highest) > bar))

    def _count(self, student: Student, threshold: float) -> dict[str, Any]:
        """Hours and alarms of the check; what says the word is no alarm, and is not played again."""
        fired = self.check.find_false_alarms(student, threshold)
        places = sorted(set(fired))
        if places and self.gathered.kind == "real":
            rows = [self.check.sounds[place].row for place in places]
            said = {places[i] for i in self.suspects.find_contaminated(rows, [0.0] * len(rows), _SILENT)}
            fired = [place for place in fired if place not in said]
            if said:
                self.check.replace_sounds([sound for place, sound in enumerate(self.check.sounds) if place not in said])
        return {"threshold": threshold, "hours": round(self.check.hours, 4), "alarms": len(fired)}

    def _positives(self, student: Student) -> tuple[float, float]:
        """Of the median positive of training: its highest logit, and its highest smoothed score."""
        heard = [compute_logits(student, clip.energies) for clip in self.gathered.mixer.positives[::7]]
        smoothed = [smooth_scores(compute_probabilities(logits), MINING_SMOOTHING).max(initial=0.0) for logits in heard]
        return float(np.median([logits.max(initial=_SILENT) for logits in heard])), float(np.median(smoothed))


def _highest(logits: np.ndarray, start: int, length: int) -> float:
    return float(logits[start // FRAMES_PER_STEP : (start + length) // FRAMES_PER_STEP].max(initial=_SILENT))
