"""Synthetic speech of many voices. Useful for training, not as evidence.

A speaker of espeak-ng is an accent combined with a voice variant; a speaker of Piper is one of a voice's speakers. Each
belongs to a family, and whole families are held out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from speechxfer.data.piper import AUTO_VOICES, PiperVoice, find_piper_voices, get_voice_language
from speechxfer.data.resampling import resample
from speechxfer.data.synthesis import list_voice_variants, synthesize_espeak
from speechxfer.errors import UserError
from speechxfer.progress import ProgressCallback
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

ESPEAK_ENGINE, PIPER_ENGINE = "espeak-ng", "Piper"
VOICE_ACCENTS = (
    "en-us",
    "en",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
_EXCLUDED_VARIANTS = {"whisper", "whisperf", "croak", "Demonic", "fast", "robosoft", "UniRobot", "anikaRobot"}
_PITCH_SHIFTS = (0.8, 1.35)  # pitch and timbre of a Piper voice with few speakers, as of larger and smaller persons


@dataclass(frozen=True)
class SyntheticSpeaker:
    """A synthetic speaker.

    engine: `ESPEAK_ENGINE` or `PIPER_ENGINE`. family: speakers that are held out together. say: maps a text and a
    random generator, which selects speed and pitch, to (time,) float32 at 16 kHz.
    """

    name: str
    engine: str
    family: str
    say: Callable[[str, np.random.Generator], np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class SyntheticClip:
    """A synthetic utterance. waveform: (time,) float32 at 16 kHz."""

    text: str
    speaker: str
    waveform: np.ndarray


def list_speakers(language: str | None = None, voices: str = AUTO_VOICES) -> list[SyntheticSpeaker]:
    """Return the speakers of espeak-ng and of Piper's `voices` (see `data.piper.find_piper_voices`).

    language: as espeak-ng names it, e.g. de or fr (default: the English accents).
    Raises: MissingExtraError without espeak-ng; UserError for voices that cannot be used or have another language.
    """
    accents = (language,) if language else VOICE_ACCENTS
    speakers = [
        SyntheticSpeaker(f"{accent}+{name}", ESPEAK_ENGINE, name, partial(_say_with_espeak, accent, name))
        for name in list_voice_variants()
        if name.rstrip("0123456789") not in _EXCLUDED_VARIANTS
        for accent in accents
    ]
    spoken_language = (language or "en").partition("-")[0]
    models = find_piper_voices(voices)
    matching = [model for model in models if get_voice_language(model).partition("-")[0] == spoken_language]
    if models and not matching and voices != AUTO_VOICES:
        raise UserError(
            f"no voice speaks '{spoken_language}'",
            where=voices,
            fix=f"set --language {get_voice_language(models[0])}, the language of these voices",
        )
    for voice in map(PiperVoice, matching):
        for number in range(voice.speakers):
            name = f"{voice.name}#{number}"
            speakers.append(SyntheticSpeaker(name, PIPER_ENGINE, name, partial(_say_with_piper, voice, number)))
    return speakers


def synthesize_clips(
    texts: Sequence[str],
    count: int,
    rng: np.random.Generator,
    voices: Sequence[SyntheticSpeaker],
    *,
    progress: ProgressCallback | None = None,
) -> list[SyntheticClip]:
    """Synthesize `count` utterances, cycling through `texts`, each with a random engine, speaker, speed and pitch.

    Raises: UserError for a text that an engine cannot pronounce.
    """
    engines = [[v for v in voices if v.engine == engine] for engine in dict.fromkeys(v.engine for v in voices)]
    clips = []
    for number in range(count):
        speakers = engines[rng.integers(len(engines))]
        speaker = speakers[rng.integers(len(speakers))]
        text = texts[number % len(texts)]
        waveform = speaker.say(text, rng)
        if len(waveform) < 0.1 * SAMPLE_RATE:
            fix = "write the word in letters, as it sounds"
            raise UserError(f"{speaker.engine} cannot pronounce '{text}'", fix=fix)
        clips.append(SyntheticClip(text, speaker.name, waveform))
        if progress:
            progress(number + 1, count)
    return clips


def synthesize_trimmed(text: str, voice: str, variant: str, rate: int, pitch: int) -> np.ndarray:
    """Synthesize with espeak-ng: (time,) float32 at 16 kHz, cut close to the speech; empty if there is none.

    The arguments are those of `synthesize_espeak`.
    """
    return _trim_silence(*synthesize_espeak(text, voice=voice, variant=variant, rate=rate, pitch=pitch))


def _say_with_espeak(voice: str, variant: str, text: str, rng: np.random.Generator) -> np.ndarray:
    return synthesize_trimmed(text, voice, variant, int(rng.integers(110, 241)), int(rng.integers(20, 81)))


def _say_with_piper(voice: PiperVoice, speaker: int, text: str, rng: np.random.Generator) -> np.ndarray:
    """Synthesize with one speaker of a voice; shift the pitch of voices with fewer than 20 speakers."""
    shift = float(rng.uniform(*_PITCH_SHIFTS)) if voice.speakers < 20 else 1.0
    noise, rhythm, length = rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.1), rng.uniform(0.75, 1.35)
    waveform, rate = voice.speak(text, speaker=speaker, length=length * shift, noise=noise, rhythm=rhythm)
    return _trim_silence(waveform, round(rate * shift))  # a change of the assumed rate


def _trim_silence(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Resample to 16 kHz and cut 50 ms before the first and 150 ms after the last sound; empty if there is none."""
    if not len(waveform):
        return waveform
    samples = resample(waveform, rate, SAMPLE_RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max(initial=0))
    if not len(loud):
        return np.zeros(0, np.float32)
    return samples[max(0, loud[0] - 800) : loud[-1] + 2400]
