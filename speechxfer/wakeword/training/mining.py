"""Hard-negative mining between training rounds: contaminated negatives, and false alarms on validation speech.

The negatives are split by speaker (by file if speakers are unknown) into training negatives, which are mined;
validation negatives (`ValidationStream`), which decide when mining stops; and calibration negatives. The validation
threshold is derived from the training data, by the calibration's rule for short streams, so that the calibration
streams do not influence any decision before the calibration.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from speechxfer.errors import MissingExtraError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import ClipRow, holds_word
from speechxfer.wakeword.data.mixing import TrainingMixer
from speechxfer.wakeword.data.prepare import PreparedData, RecordedClip, recording_keys
from speechxfer.wakeword.evaluation.metrics import SECONDS_PER_HOUR, DetectionEvaluation
from speechxfer.wakeword.evaluation.streams import GAP_SECONDS, score_waveforms
from speechxfer.wakeword.model.student import FIRST_SCORE_SECONDS, FRAMES_PER_STEP, STEP_SECONDS, Student
from speechxfer.wakeword.runtime.detector import Scorer
from speechxfer.wakeword.runtime.events import Scores, Trigger, find_events, smooth_scores
from speechxfer.wakeword.runtime.features import NUM_MELS, SAMPLE_RATE, compute_mel_energies
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.calibration import choose_fallback_threshold
from speechxfer.wakeword.training.loop import MINING_SMOOTHING, compute_logits, compute_probabilities

_REFRACTORY = 2.0  # s, on validation speech
_MAX_TRANSCRIBED = 20  # negatives transcribed at once
_MIN_LOGIT = -30.0
_WHISPER = "whisper-tiny.en"


class ContaminationFilter:
    """Finds negatives that contain the word, among those on which the student fires as on the word itself.

    Negatives with a text are trusted. The others are transcribed with Whisper and dropped if the transcript contains
    the word; if Whisper is not installed, they are only listed. dropped, unsure: names of both.
    """

    def __init__(self, word: str, reporter: Reporter) -> None:
        self.word, self.reporter = word, reporter
        self.dropped: list[str] = []
        self.unsure: list[str] = []
        self._whisper: Any = None
        self._transcripts: dict[tuple[Any, ...], str] = {}  # the same negatives are suspect after every round

    def find_contaminated(self, rows: Sequence[ClipRow], highest: Sequence[float], min_logit: float) -> list[int]:
        """Return the indices of contaminated rows among those without a text and with a logit above `min_logit`."""
        ranked = [int(i) for i in np.argsort(highest)[::-1][:_MAX_TRANSCRIBED] if highest[i] > min_logit]
        suspects = [i for i in ranked if not rows[i].get("text")]
        transcripts = self._transcribe([rows[i] for i in suspects]) if suspects else []
        contaminated = []
        for index, transcript in zip(suspects, transcripts, strict=True):
            name = str(rows[index]["audio"])
            if transcript is not None and holds_word(transcript, self.word):
                contaminated.append(index)
                if name not in self.dropped:
                    self.dropped.append(name)
                    self.reporter.info(f"Ignored a negative in which Whisper recognised the wake word: {name}")
            elif name not in self.unsure:
                self.unsure.append(name)
        return contaminated

    def _transcribe(self, rows: Sequence[ClipRow]) -> list[str | None]:
        from speechxfer.data.audio import load_waveform
        from speechxfer.models.loading import load as load_model

        try:
            self._whisper = self._whisper or load_model(_WHISPER, device="cpu")
        except MissingExtraError:
            return [None] * len(rows)
        keys = recording_keys(rows)
        for key, row in zip(keys, rows, strict=True):
            if key not in self._transcripts:
                self._transcripts[key] = self._whisper.predict([load_waveform(row)])[0]
        return [self._transcripts[key] for key in keys]


class ValidationStream:
    """Validation negatives, concatenated with silence between them. target: false alarms per hour."""

    def __init__(self, clips: Sequence[RecordedClip], target: float) -> None:
        self.target = target
        self.replace_clips(clips)

    def replace_clips(self, clips: Sequence[RecordedClip]) -> None:
        """Use these clips from now on."""
        self.clips = list(clips)
        silence = np.zeros(round(GAP_SECONDS * SAMPLE_RATE), np.float32)
        pieces = [piece for clip in self.clips for piece in (clip.waveform, silence)]
        self._energies = compute_mel_energies(np.concatenate(pieces)) if pieces else np.zeros((0, NUM_MELS), np.float32)
        self._ends = np.cumsum([(len(clip.waveform) + len(silence)) / SAMPLE_RATE for clip in self.clips]).tolist()
        self.hours = sum(len(clip.waveform) for clip in self.clips) / SAMPLE_RATE / SECONDS_PER_HOUR

    @property
    def max_false_alarms(self) -> int:
        """Number of false alarms in these hours at the target rate, rounded down."""
        return int(self.target * self.hours + 1e-9)

    def find_false_alarms(self, student: Student, threshold: float) -> list[int]:
        """Return, for every false alarm, the index of the clip in which it occurred."""
        probabilities = compute_probabilities(compute_logits(student, self._energies))
        scores = Scores(probabilities, STEP_SECONDS, FIRST_SCORE_SECONDS)
        events = find_events(scores, Trigger(threshold, MINING_SMOOTHING, _REFRACTORY))
        return [min(bisect_right(self._ends, event.time), len(self.clips) - 1) for event in events]

    def count_false_alarms(self, scorer: Scorer, trigger: Trigger) -> int:
        """Return the number of false alarms of the finished detector."""
        recording = score_waveforms(scorer, [clip.waveform for clip in self.clips], "check")
        return DetectionEvaluation([recording]).evaluate_at(trigger).false_alarms


class MiningLoop:
    """Callback after each training round: drops contaminated negatives, counts false alarms, records the round."""

    def __init__(self, settings: WakeWordSettings, data: PreparedData, reporter: Reporter) -> None:
        self.data, self.reporter = data, reporter
        self.max_rounds = settings.mining_rounds + settings.extra_rounds
        self.contamination = ContaminationFilter(settings.word, reporter)
        self.validation = ValidationStream(data.validation, settings.false_alarms_per_hour)
        self.rounds: list[dict[str, Any]] = []

    def __call__(self, student: Student, mixer: TrainingMixer, logits: np.ndarray) -> bool:
        """Evaluate a round and return whether the target is met.

        logits: (steps,) of `mixer.negatives`. Both are silenced in place where a negative contains the word.
        """
        median_logit, median_score = self._median_positive(student)
        result: dict[str, Any] = {"round": len(self.rounds) + 1}
        result["negatives_like_the_median_positive"] = self._drop_negatives(mixer, logits, median_logit)
        highest = float(smooth_scores(compute_probabilities(logits), MINING_SMOOTHING).max(initial=0.0))
        result |= self._validate(student, choose_fallback_threshold(highest, median_score))
        self.rounds.append(result)
        return self.target_met

    @property
    def target_met(self) -> bool:
        """Whether the last round met the target; true without validation speech."""
        met = bool(self.rounds and self.rounds[-1]["alarms"] <= self.validation.max_false_alarms)
        return not self.validation.clips or met

    def drop_contaminated(self, student: Student) -> list[RecordedClip]:
        """Return the calibration negatives without those that contain the word."""
        stream = self.data.held_out_stream
        if self.data.kind != "real":
            return stream
        highest = [
            float(compute_logits(student, compute_mel_energies(clip.waveform)).max(initial=_MIN_LOGIT))
            for clip in stream
        ]
        min_logit = self._median_positive(student)[0]
        contaminated = set(self.contamination.find_contaminated([clip.row for clip in stream], highest, min_logit))
        return [clip for index, clip in enumerate(stream) if index not in contaminated]

    def to_json(self, scorer: Scorer, trigger: Trigger) -> dict[str, Any]:
        """Return the manifest's entry: all rounds, the reason for stopping, and the finished detector's alarms."""
        alarms = self.validation.count_false_alarms(scorer, trigger) if self.validation.clips else None
        return {
            "heard": "negatives used neither in training nor in calibration; threshold from the training data",
            "hours": round(self.validation.hours, 4),
            "alarms_allowed": self.validation.max_false_alarms,
            "rounds": self.rounds,
            "stopped": self._stop_reason(),
            "alarms_at_the_calibrated_threshold": alarms,
        }

    def _stop_reason(self) -> str:
        if not self.validation.clips:
            return "planned rounds done, no validation speech"
        if self.target_met:
            return "target met"
        return "maximum number of rounds" if len(self.rounds) >= self.max_rounds else "time limit"

    def _drop_negatives(self, mixer: TrainingMixer, logits: np.ndarray, min_logit: float) -> int:
        """Silence contaminated training negatives; return how many negatives score above `min_logit`."""
        highest = [max(_highest_logit(logits, *span) for span in spans) for spans in self.data.spans]
        rows = self.data.rows if self.data.kind == "real" else []
        for index in self.contamination.find_contaminated(rows, highest[: len(rows)], min_logit):
            for start, length in self.data.spans[index]:
                mixer.negatives[start : start + length] = 0
                logits[start // FRAMES_PER_STEP : (start + length) // FRAMES_PER_STEP] = _MIN_LOGIT
        return int(np.sum(np.array(highest) > min_logit))

    def _validate(self, student: Student, threshold: float) -> dict[str, Any]:
        """Count false alarms on the validation stream, after removing clips in which the word was recognised."""
        alarms = self.validation.find_false_alarms(student, threshold)
        indices = sorted(set(alarms))
        if indices and self.data.kind == "real":
            rows = [self.validation.clips[index].row for index in indices]
            found = self.contamination.find_contaminated(rows, [0.0] * len(rows), _MIN_LOGIT)
            contaminated = {indices[i] for i in found}
            alarms = [index for index in alarms if index not in contaminated]
            if contaminated:
                clips = [clip for index, clip in enumerate(self.validation.clips) if index not in contaminated]
                self.validation.replace_clips(clips)
        return {"threshold": threshold, "hours": round(self.validation.hours, 4), "alarms": len(alarms)}

    def _median_positive(self, student: Student) -> tuple[float, float]:
        """Return the medians over training positives of the highest logit and of the highest smoothed score."""
        logits = [compute_logits(student, clip.energies) for clip in self.data.mixer.positives[::7]]
        scores = [smooth_scores(compute_probabilities(values), MINING_SMOOTHING).max(initial=0.0) for values in logits]
        return float(np.median([values.max(initial=_MIN_LOGIT) for values in logits])), float(np.median(scores))


def _highest_logit(logits: np.ndarray, start: int, length: int) -> float:
    return float(logits[start // FRAMES_PER_STEP : (start + length) // FRAMES_PER_STEP].max(initial=_MIN_LOGIT))
