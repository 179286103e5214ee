"""The settings of a detector's training: every key, its default (here and nowhere else) and its meaning."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator


class WakeWordSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)

    word: str = Field(min_length=1, description="The word or phrase, as it is written.")
    positives: str | None = Field(None, description="Recordings of the word: a folder, a list or a table.")
    negatives: str | None = Field(
        None, description="Other speech: a folder, a list or DATA. None: synthetic sentences."
    )
    noise: str | None = Field(None, description="A folder or table of noises to mix in, beside the made-up ones.")
    output: Path = Field(description="The detector's folder.")
    overwrite: bool = Field(False, description="Replace a detector that lies there.")
    false_alarms_per_hour: float = Field(0.1, gt=0, description="False alarms an hour to calibrate for.")
    synthetic: int | None = Field(
        None, ge=0, description="Synthetic recordings of the word; None: 400 without recordings, 120 beside them."
    )
    voices: str = Field(
        "auto",
        description="Piper voices beside espeak-ng's: a folder or file of them, auto (those installed), or none.",
    )
    language: str | None = Field(None, description="espeak-ng's voice of another language than English, say de.")
    held_out: float = Field(0.15, gt=0, lt=0.5, description="Share of speakers (or files) kept for calibration.")
    steps: int = Field(1200, ge=1, description="Training steps, in all planned rounds together.")
    batch: int = Field(64, ge=8, description="Windows of 2.4 s to a step.")
    mining_rounds: int = Field(
        4, ge=1, description="Planned rounds; before each but the first the negatives are mined."
    )
    extra_rounds: int = Field(4, ge=0, description="Further rounds, as long as the target does not hold.")
    validation_share: float = Field(
        0.1, ge=0, lt=0.5, description="Share of speakers (or files) of the negatives that tell whether it holds."
    )
    max_minutes: float = Field(20.0, gt=0, description="Of training, after which no further round begins.")
    teacher: str = Field(
        "none", description="A frozen encoder that the student also learns from: none, or a MODEL, say whisper-tiny.en."
    )
    distillation_weight: float = Field(0.5, gt=0, description="Weight of what the teacher says, beside the labels.")
    width: int = Field(128, ge=8, le=256, description="Channels of the student.")
    seed: int = 0
    licence: str = Field("not stated", description="Licence of the recordings, for the manifest.")

    @field_validator("word")
    @classmethod
    def _is_spoken(cls, word: str) -> str:
        if not any(letter.isalnum() for letter in word):
            raise ValueError("has no letter or digit, so nothing to be said")
        return word


MAX_NEGATIVE_HOURS = 12.0  # of negatives in memory, their variants included: 1.4 GB
TARGET_VARIANTS = 1500  # recordings of the word to aim at, by changes of speed, room and clipping
MAX_VARIANTS_PER_CLIP = 30  # of one recording
NUM_NEAR_MISSES = 240  # synthetic near misses
NUM_FILLER_SENTENCES = 400  # synthetic utterances where there are no negatives
