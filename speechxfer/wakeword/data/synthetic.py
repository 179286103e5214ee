"""A word and what resembles it, spoken by many synthetic voices. It teaches a detector the word, and proves nothing.

A speaker of espeak-ng is an accent with one of its voice variants; a speaker of Piper is one of a voice's own. Each has
a family, by which speakers are held out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torchaudio.functional import resample

from speechxfer.data.demo_corpus import make_sentences
from speechxfer.data.piper import AUTO_VOICES, PiperVoice, find_piper_voices, get_voice_language
from speechxfer.data.synthesis import list_voice_variants, synthesize_espeak
from speechxfer.errors import UserError
from speechxfer.wakeword.runtime.features import SAMPLE_RATE

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
_LEFT_OUT = {"whisper", "whisperf", "croak", "Demonic", "fast", "robosoft", "UniRobot", "anikaRobot"}
_VOWELS = "aeiouy"
_NEIGHBOURS = {  # sounds that differ in one feature, as they are spelt
    "b": "pdv", "p": "bt", "d": "tbg", "t": "dpk", "g": "kd", "k": "gt", "c": "gt", "f": "vth", "v": "fb", "s": "fsh",
    "z": "v", "m": "nb", "n": "ml", "l": "rn", "r": "lw", "j": "yd", "w": "rv", "h": "f", "a": "eoi", "e": "aio",
    "i": "eou", "o": "aue", "u": "oia", "y": "oa",
}  # fmt: skip
_FILLERS = ("tomorrow", "paper", "nothing", "garden", "seven", "over", "window", "always")


ESPEAK_ENGINE, PIPER_ENGINE = "espeak-ng", "Piper"
_SHIFTS = (0.8, 1.35)  # of a lone Piper voice's pitch and timbre: the speaker is taken for a larger or a smaller person


@dataclass(frozen=True)
class SyntheticSpeaker:
    """say: a text, with numbers drawn for speed and pitch, to (time,) float32 at 16 kHz.

    engine: `ESPEAK_ENGINE` or `PIPER_ENGINE`. family: what is held out as one.
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
    """espeak-ng's speakers, and those of Piper's `voices` (`data.piper.find_piper_voices`).

    language: espeak-ng's name of one (de, fr, ...) in place of the English accents. Raises MissingExtraError without
    espeak-ng, UserError for voices that cannot be used or speak another language.
    """
    accents = (language,) if language else VOICE_ACCENTS
    found = [
        SyntheticSpeaker(f"{accent}+{name}", ESPEAK_ENGINE, name, partial(_drawn, accent, name))
        for name in list_voice_variants()
        if name.rstrip("0123456789") not in _LEFT_OUT
        for accent in accents
    ]
    wanted = (language or "en").partition("-")[0]
    models = find_piper_voices(voices)
    fitting = [model for model in models if get_voice_language(model).partition("-")[0] == wanted]
    if models and not fitting and voices != AUTO_VOICES:
        raise UserError(
            f"no voice speaks '{wanted}'",
            where=voices,
            fix=f"their language is {get_voice_language(models[0])}: say --language",
        )
    for voice in map(PiperVoice, fitting):
        for number in range(voice.speakers):
            name = f"{voice.name}#{number}"
            found.append(SyntheticSpeaker(name, PIPER_ENGINE, name, partial(_by_piper, voice, number)))
    return found


def synthesize_clips(
    texts: Sequence[str],
    count: int,
    rng: np.random.Generator,
    voices: Sequence[SyntheticSpeaker],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[SyntheticClip]:
    """`count` utterances of `texts` in turn, each by a speaker drawn from a drawn engine, at a drawn speed and pitch.

    Raises UserError for a text of which nothing can be spoken.
    """
    engines = [[v for v in voices if v.engine == engine] for engine in dict.fromkeys(v.engine for v in voices)]
    found = []
    for number in range(count):
        drawn = engines[rng.integers(len(engines))]
        speaker = drawn[rng.integers(len(drawn))]
        text = texts[number % len(texts)]
        waveform = speaker.say(text, rng)
        if len(waveform) < 0.1 * SAMPLE_RATE:
            raise UserError(
                f"{speaker.engine} speaks nothing of '{text}'", fix="write the word in letters, as it sounds"
            )
        found.append(SyntheticClip(text, speaker.name, waveform))
        if progress:
            progress(number + 1, count)
    return found


def make_near_miss_texts(word: str, rng: np.random.Generator, count: int = 60) -> list[str]:
    """Texts that resemble the word: its parts, its syllables in another order, run-ons, and neighbours of its sounds.

    What sounds just like the word (one voice gives the same samples) is left out.
    """
    syllables = split_syllables(word)
    parts = ["".join(syllables[i:j]) for i in range(len(syllables)) for j in range(i + 1, len(syllables) + 1)]
    found = [part for part in parts if part != "".join(syllables)]
    found += word.split() if len(word.split()) > 1 else []
    found += ["".join(syllables[::-1]), "".join(syllables[1:] + syllables[:1])]
    for filler in _FILLERS[:4]:
        found += [f"{''.join(syllables[:-1])} {filler}", f"{filler} {''.join(syllables[1:]).strip()}"]
    neighbours = list(_neighbours(word))
    order = rng.permutation(len(neighbours))
    found += [neighbours[i] for i in order[: max(0, count - len(found))]]
    voice = ("en-us", "max")
    own = _spoken(word, *voice, 160, 50)
    distinct = dict.fromkeys(text.strip() for text in found)
    kept = []
    for text in distinct:
        if len(re.sub(r"\W", "", text)) < 2:
            continue
        waveform = _spoken(text, *voice, 160, 50)
        if len(waveform) >= 0.1 * SAMPLE_RATE and not (len(waveform) == len(own) and np.array_equal(waveform, own)):
            kept.append(text)
    return kept[:count]


def make_filler_sentences() -> list[str]:
    """Everyday sentences, for general speech where there is none."""
    return [line for lines in make_sentences().values() for line in lines]


def split_syllables(word: str) -> list[str]:
    """Rough syllables by the vowels as they are spelt, a space with what follows it: hey, ju, ni, per."""
    pieces: list[str] = []
    for part in word.casefold().split():
        found = re.findall(rf"[^{_VOWELS}]*[{_VOWELS}]+(?:[^{_VOWELS}]+(?![{_VOWELS}]|.*[{_VOWELS}]))?", part) or [part]
        pieces += [(" " if pieces else "") + found[0], *found[1:]]
    return pieces


def _neighbours(word: str) -> Iterator[str]:
    """The word with one or two of its letters exchanged for neighbouring sounds."""
    letters = word.casefold()
    places = [i for i, letter in enumerate(letters) if letter in _NEIGHBOURS]
    single = [(i, other) for i in places for other in _NEIGHBOURS[letters[i]]]
    if len(places) < 5:  # of a longer word one sound less is how some people say it
        for i, other in single:
            yield letters[:i] + other + letters[i + 1 :]
    for i, other in single:
        for j, another in single:
            if j > i + 1:
                yield letters[:i] + other + letters[i + 1 : j] + another + letters[j + 1 :]


def _drawn(voice: str, variant: str, text: str, rng: np.random.Generator) -> np.ndarray:
    return _spoken(text, voice, variant, int(rng.integers(110, 241)), int(rng.integers(20, 81)))


def _by_piper(voice: PiperVoice, speaker: int, text: str, rng: np.random.Generator) -> np.ndarray:
    """A text by one of a voice's speakers; of a voice with few, as persons of several sizes."""
    shift = float(rng.uniform(*_SHIFTS)) if voice.speakers < 20 else 1.0
    noise, rhythm, length = rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.1), rng.uniform(0.75, 1.35)
    waveform, rate = voice.speak(text, speaker=speaker, length=length * shift, noise=noise, rhythm=rhythm)
    return _trimmed(waveform, round(rate * shift / 10) * 10)  # played faster it is higher; the filter stays short


def _spoken(text: str, voice: str, variant: str, rate: int, pitch: int) -> np.ndarray:
    return _trimmed(*synthesize_espeak(text, voice=voice, variant=variant, rate=rate, pitch=pitch))


def _trimmed(waveform: np.ndarray, rate: int) -> np.ndarray:
    """At 16 kHz, 50 ms before its first sound to 150 ms after its last; nothing where there is no sound."""
    if not len(waveform):
        return waveform
    found = resample(torch.from_numpy(waveform), rate, SAMPLE_RATE).numpy()
    loud = np.flatnonzero(np.abs(found) > 0.02 * np.abs(found).max(initial=0))
    if not len(loud):
        return np.zeros(0, np.float32)
    return found[max(0, loud[0] - 800) : loud[-1] + 2400]
