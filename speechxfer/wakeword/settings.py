"""Settings of a detector's training: every key, its default (defined only here) and its meaning."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator


class WakeWordSettings(BaseModel):
    """Settings of `speechxfer wakeword train`, from a recipe and the command line."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)

    word: str = Field(min_length=1, description="The word or phrase, as it is written.")
    positives: str | None = Field(None, description="Recordings of the word: a folder, a list or a table.")
    negatives: str | None = Field(
        None, description="Speech without the word: a folder, a list or DATA (default: synthetic sentences)."
    )
    noise: str | None = Field(None, description="Folder or table of noises to mix in, in addition to generated noise.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Names of the columns of all tables, by kind, e.g. {audio: file, label: word}.",
    )
    output: Path = Field(description="Folder of the detector.")
    overwrite: bool = Field(False, description="Replace an existing detector.")
    false_alarms_per_hour: float = Field(0.1, gt=0, description="Target false alarms per hour.")
    synthetic: int | None = Field(
        None,
        ge=0,
        description="Number of synthetic clips of the word (default: 120 in addition to recordings, 400 without any).",
    )
    voices: str = Field(
        "auto",
        description="Piper voices in addition to espeak-ng: a folder or file, auto (installed ones) or none.",
    )
    language: str | None = Field(
        None, description="Language of the synthetic voices as espeak-ng names it, e.g. de (default: English)."
    )
    held_out: float = Field(0.15, gt=0, lt=0.5, description="Share of speakers (or files) held out for calibration.")
    steps: int = Field(1200, ge=1, description="Training steps of all planned rounds together.")
    batch: int = Field(64, ge=8, description="Windows of 2.4 s per step.")
    mining_rounds: int = Field(
        4, ge=1, description="Planned rounds of training; hard negatives are mined between them."
    )
    extra_rounds: int = Field(4, ge=0, description="Further rounds while the target false-alarm rate is not met.")
    validation_share: float = Field(
        0.1,
        ge=0,
        lt=0.5,
        description="Share of speakers (or files) of the negatives used to decide on further rounds.",
    )
    max_minutes: float = Field(20.0, gt=0, description="Minutes of training after which no further round starts.")
    quiet_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of training windows at 15 to 36 dB below the recordings, for quiet or distant speech.",
    )
    teacher: str = Field("none", description="Frozen encoder for distillation: none, or a MODEL, e.g. whisper-tiny.en.")
    distillation_weight: float = Field(0.5, gt=0, description="Weight of the distillation loss.")
    width: int = Field(128, ge=8, le=256, description="Channels of the student network.")
    seed: int = 0
    licence: str = Field("not stated", description="Licence of the recordings, written to the manifest.")

    @field_validator("word")
    @classmethod
    def _check_word(cls, word: str) -> str:
        if not any(letter.isalnum() for letter in word):
            raise ValueError("contains no letter or digit")
        return word


MAX_NEGATIVE_HOURS = 12.0  # of negatives in memory, augmented copies included: 1.4 GB
TARGET_VARIANTS = 1500  # clips of the word to reach by augmentation (speed, room, clipping)
MAX_VARIANTS_PER_CLIP = 30
NUM_NEAR_MISSES = 240  # synthetic near misses
NUM_FILLER_SENTENCES = 400  # synthetic utterances used if there are no negatives
