"""Between rounds of training: what the student fires on is listened to, and whether the target holds is counted.

The negatives are in three parts, by speakers (by files where those are not named): what is trained on and mined; what
`Check` plays, by which mining ends; what calibration plays. `Check`'s threshold comes from training's own sounds, by
calibration's rule for few hours, so that calibration's streams decide nothing before they are played.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from speechxfer.errors import MissingExtraError
from speechxfer.report.progress import Narrator
from speechxfer.wakeword.calibration import silent_threshold
from speechxfer.wakeword.clips import Row, holds_word
from speechxfer.wakeword.detector import Scorer
from speechxfer.wakeword.evaluation import SECONDS_AN_HOUR, Evaluation
from speechxfer.wakeword.events import Scores, Trigger, find_events, smooth
from speechxfer.wakeword.features import MELS, RATE, mel_energies
from speechxfer.wakeword.gathering import Gathered, Sound
from speechxfer.wakeword.material import Material
from speechxfer.wakeword.settings import Settings
from speechxfer.wakeword.streams import BETWEEN, hear_sounds
from speechxfer.wakeword.student import FIRST, STEP, STRIDE, Student
from speechxfer.wakeword.training import SMOOTHING, logits_of, probabilities_of

_REFRACTORY = 2.0  # s, with which `Check` counts
_SUSPECTS = 20  # negatives that are listened to at once
_SILENT = -30.0  # a logit
_WHISPER = "whisper-tiny.en"


class Suspects:
    """Negatives on which the student fires as on the word itself: do they say it?

    Those whose text is known do not. Of the others those in which Whisper hears it are dropped and listed; where
    Whisper is not installed, all are listed as ones to listen to.
    """

    def __init__(self, word: str, narrator: Narrator) -> None:
        self.word, self.narrator = word, narrator
        self.dropped: list[str] = []
        self.unsure: list[str] = []
        self._whisper: Any = None

    def saying_it(self, rows: Sequence[Row], highest: Sequence[float], bar: float) -> list[int]:
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
                    self.narrator.say(f"left out of the negatives, for Whisper hears the word: {name}")
            elif name not in self.unsure:
                self.unsure.append(name)
        return said

    def _transcribed(self, rows: Sequence[Row]) -> list[str | None]:
        from speechxfer.data.audio import load
        from speechxfer.models.loading import load as load_model

        try:
            self._whisper = self._whisper or load_model(_WHISPER, device="cpu")
        except MissingExtraError:
            return [None] * len(rows)
        return [self._whisper.answer([load(row)])[0] for row in rows]


class Check:
    """Negatives that neither training nor calibration hears, one after another with silence between."""

    def __init__(self, sounds: Sequence[Sound], target: float) -> None:
        self.target = target
        self.keep(sounds)

    def keep(self, sounds: Sequence[Sound]) -> None:
        """Play these from now on."""
        self.sounds = list(sounds)
        silence = np.zeros(round(BETWEEN * RATE), np.float32)
        pieces = [piece for sound in self.sounds for piece in (sound.waveform, silence)]
        self._energies = mel_energies(np.concatenate(pieces)) if pieces else np.zeros((0, MELS), np.float32)
        self._ends = np.cumsum([(len(sound.waveform) + len(silence)) / RATE for sound in self.sounds]).tolist()
        self.hours = sum(len(sound.waveform) for sound in self.sounds) / RATE / SECONDS_AN_HOUR

    @property
    def allowed(self) -> int:
        """The alarms that the target makes of these hours, rounded down: none where they are few."""
        return int(self.target * self.hours + 1e-9)

    def fired_on(self, student: Student, threshold: float) -> list[int]:
        """The place of the sound that was playing, for every false alarm."""
        scores = Scores(probabilities_of(logits_of(student, self._energies)), STEP, FIRST)
        events = find_events(scores, Trigger(threshold, SMOOTHING, _REFRACTORY))
        return [min(bisect_right(self._ends, event.time), len(self.sounds) - 1) for event in events]

    def alarms(self, scorer: Scorer, trigger: Trigger) -> int:
        """False alarms of the finished detector."""
        return Evaluation([hear_sounds(scorer, [s.waveform for s in self.sounds], "check")]).at(trigger).alarms


class Rounds:
    """What `train` asks after every round: does the target hold? Drops what says the word, and keeps every count."""

    def __init__(self, settings: Settings, gathered: Gathered, narrator: Narrator) -> None:
        self.gathered, self.narrator = gathered, narrator
        self.planned, self.most = settings.rounds, settings.rounds + settings.extra
        self.suspects = Suspects(settings.word, narrator)
        self.check = Check(gathered.checked, settings.target)
        self.rounds: list[dict[str, Any]] = []

    def __call__(self, student: Student, material: Material, logits: np.ndarray) -> bool:
        """logits: (steps,) of `material.negatives`, changed in place where a negative turns out to say the word."""
        bar, middle = self._positives(student)
        found: dict[str, Any] = {"round": len(self.rounds) + 1}
        found["negatives_like_the_median_positive"] = self._drop(material, logits, bar)
        loudest = float(smooth(probabilities_of(logits), SMOOTHING).max(initial=0.0))
        found |= self._count(student, silent_threshold(loudest, middle))
        self.rounds.append(found)
        return self.holds

    @property
    def holds(self) -> bool:
        """Whether the last round kept the target. Without anything to count on, it is taken for kept."""
        return not self.check.sounds or bool(self.rounds and self.rounds[-1]["alarms"] <= self.check.allowed)

    def without_the_word(self, student: Student) -> list[Sound]:
        """Calibration's negatives less those that hold the word."""
        stream = self.gathered.stream
        if self.gathered.kind != "real":
            return stream
        highest = [float(logits_of(student, mel_energies(s.waveform)).max(initial=_SILENT)) for s in stream]
        said = set(self.suspects.saying_it([s.row for s in stream], highest, self._positives(student)[0]))
        return [sound for place, sound in enumerate(stream) if place not in said]

    def to_json(self, scorer: Scorer, trigger: Trigger) -> dict[str, Any]:
        """For the manifest: every round's hours and alarms, why there was no further one, and the end's alarms."""
        return {
            "heard": "negatives that neither training nor calibration hears; threshold by training's own sounds",
            "hours": round(self.check.hours, 4),
            "alarms_allowed": self.check.allowed,
            "rounds": self.rounds,
            "stopped": self._stopped(),
            "alarms_at_the_calibrated_threshold": self.check.alarms(scorer, trigger) if self.check.sounds else None,
        }

    def _stopped(self) -> str:
        if not self.check.sounds:
            return "after the planned rounds: there were no negatives to check by"
        if self.holds:
            return "the target held"
        return "after the most rounds" if len(self.rounds) >= self.most else "for time"

    def _drop(self, material: Material, logits: np.ndarray, bar: float) -> int:
        """Silence the negatives that say the word; how many negatives are as loud as the median positive."""
        highest = [max(_highest(logits, *span) for span in spans) for spans in self.gathered.spans]
        rows = self.gathered.rows if self.gathered.kind == "real" else []
        for place in self.suspects.saying_it(rows, highest[: len(rows)], bar):
            for start, length in self.gathered.spans[place]:
                material.negatives[start : start + length] = 0
                logits[start // STRIDE : (start + length) // STRIDE] = _SILENT
        return int(np.sum(np.array(highest) > bar))

    def _count(self, student: Student, threshold: float) -> dict[str, Any]:
        """Hours and alarms of the check; what says the word is no alarm, and is not played again."""
        fired = self.check.fired_on(student, threshold)
        places = sorted(set(fired))
        if places and self.gathered.kind == "real":
            rows = [self.check.sounds[place].row for place in places]
            said = {places[i] for i in self.suspects.saying_it(rows, [0.0] * len(rows), _SILENT)}
            fired = [place for place in fired if place not in said]
            if said:
                self.check.keep([sound for place, sound in enumerate(self.check.sounds) if place not in said])
        return {"threshold": threshold, "hours": round(self.check.hours, 4), "alarms": len(fired)}

    def _positives(self, student: Student) -> tuple[float, float]:
        """Of the median positive of training: its highest logit, and its highest smoothed score."""
        heard = [logits_of(student, clip.energies) for clip in self.gathered.material.positives[::7]]
        smoothed = [smooth(probabilities_of(logits), SMOOTHING).max(initial=0.0) for logits in heard]
        return float(np.median([logits.max(initial=_SILENT) for logits in heard])), float(np.median(smoothed))


def _highest(logits: np.ndarray, start: int, length: int) -> float:
    return float(logits[start // STRIDE : (start + length) // STRIDE].max(initial=_SILENT))
