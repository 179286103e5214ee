"""Synthetic speech: the word and similar texts spoken by many voices. Useful for training, not as evidence.

A speaker of espeak-ng is an accent combined with a voice variant; a speaker of Piper is one of a voice's speakers. Each
belongs to a family, and whole families are held out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from speechxfer.data.demo_corpus import make_sentences
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
_VOWELS = "aeiouy"
_SIMILAR_LETTERS = {  # letters whose sounds differ in one feature
    "b": "pdv", "p": "bt", "d": "tbg", "t": "dpk", "g": "kd", "k": "gt", "c": "gt", "f": "vth", "v": "fb", "s": "fsh",
    "z": "v", "m": "nb", "n": "ml", "l": "rn", "r": "lw", "j": "yd", "w": "rv", "h": "f", "a": "eoi", "e": "aio",
    "i": "eou", "o": "aue", "u": "oia", "y": "oa",
}  # fmt: skip
_FILLER_WORDS = ("tomorrow", "paper", "nothing", "garden", "seven", "over", "window", "always")
_PITCH_SHIFTS = (0.8, 1.35)  # pitch and timbre of a Piper voice with few speakers, as of larger and smaller persons
_REFERENCE_VOICE = ("en-us", "max", 160, 50)  # accent, variant, words per minute, pitch: to compare pronunciations


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


def make_near_miss_texts(word: str, rng: np.random.Generator, count: int = 60) -> list[str]:
    """Return texts similar to the word: parts, reordered syllables, parts with another word, and similar sounds.

    Texts that are pronounced like the word (the same samples from one voice) are removed.
    """
    candidates = _combine_syllables(word)
    similar = list(_replace_letters(word))
    order = rng.permutation(len(similar))
    candidates += [similar[i] for i in order[: max(0, count - len(candidates))]]
    pronounced_word = _synthesize_reference(word)
    texts = []
    for text in dict.fromkeys(text.strip() for text in candidates):
        if len(re.sub(r"\W", "", text)) < 2:
            continue
        waveform = _synthesize_reference(text)
        if len(waveform) >= 0.1 * SAMPLE_RATE and not np.array_equal(waveform, pronounced_word):
            texts.append(text)
    return texts[:count]


def make_filler_sentences() -> list[str]:
    """Return everyday sentences, used as general speech if there are no negatives."""
    return [line for lines in make_sentences().values() for line in lines]


def split_syllables(word: str) -> list[str]:
    """Split into rough syllables at the vowels, a space belonging to the next syllable: hey, ju, ni, per."""
    syllables: list[str] = []
    for part in word.casefold().split():
        pieces = re.findall(rf"[^{_VOWELS}]*[{_VOWELS}]+(?:[^{_VOWELS}]+(?![{_VOWELS}]|.*[{_VOWELS}]))?", part) or [
            part
        ]
        syllables += [(" " if syllables else "") + pieces[0], *pieces[1:]]
    return syllables


def _combine_syllables(word: str) -> list[str]:
    """Return the word's parts, its syllables in other orders, and parts of it next to another word."""
    syllables = split_syllables(word)
    parts = ["".join(syllables[i:j]) for i in range(len(syllables)) for j in range(i + 1, len(syllables) + 1)]
    texts = [part for part in parts if part != "".join(syllables)]
    texts += word.split() if len(word.split()) > 1 else []
    texts += ["".join(syllables[::-1]), "".join(syllables[1:] + syllables[:1])]
    for filler in _FILLER_WORDS[:4]:
        texts += [f"{''.join(syllables[:-1])} {filler}", f"{filler} {''.join(syllables[1:]).strip()}"]
    return texts


def _replace_letters(word: str) -> Iterator[str]:
    """Yield the word with one or two letters replaced by letters of similar sound."""
    letters = word.casefold()
    positions = [i for i, letter in enumerate(letters) if letter in _SIMILAR_LETTERS]
    replacements = [(i, other) for i in positions for other in _SIMILAR_LETTERS[letters[i]]]
    if len(positions) < 5:  # in longer words, one changed sound is within normal variation of pronunciation
        for i, other in replacements:
            yield letters[:i] + other + letters[i + 1 :]
    for i, other in replacements:
        for j, another in replacements:
            if j > i + 1:
                yield letters[:i] + other + letters[i + 1 : j] + another + letters[j + 1 :]


def _synthesize_reference(text: str) -> np.ndarray:
    voice, variant, rate, pitch = _REFERENCE_VOICE
    return _synthesize_trimmed(text, voice, variant, rate, pitch)


def _say_with_espeak(voice: str, variant: str, text: str, rng: np.random.Generator) -> np.ndarray:
    return _synthesize_trimmed(text, voice, variant, int(rng.integers(110, 241)), int(rng.integers(20, 81)))


def _say_with_piper(voice: PiperVoice, speaker: int, text: str, rng: np.random.Generator) -> np.ndarray:
    """Synthesize with one speaker of a voice; shift the pitch of voices with fewer than 20 speakers."""
    shift = float(rng.uniform(*_PITCH_SHIFTS)) if voice.speakers < 20 else 1.0
    noise, rhythm, length = rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.1), rng.uniform(0.75, 1.35)
    waveform, rate = voice.speak(text, speaker=speaker, length=length * shift, noise=noise, rhythm=rhythm)
    return _trim_silence(waveform, round(rate * shift))  # a change of the assumed rate


def _synthesize_trimmed(text: str, voice: str, variant: str, rate: int, pitch: int) -> np.ndarray:
    return _trim_silence(*synthesize_espeak(text, voice=voice, variant=variant, rate=rate, pitch=pitch))


def _trim_silence(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Resample to 16 kHz and cut 50 ms before the first and 150 ms after the last sound; empty if there is none."""
    if not len(waveform):
        return waveform
    samples = resample(waveform, rate, SAMPLE_RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max(initial=0))
    if not len(loud):
        return np.zeros(0, np.float32)
    return samples[max(0, loud[0] - 800) : loud[-1] + 2400]
