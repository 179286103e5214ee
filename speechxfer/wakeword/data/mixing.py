"""What a detector is trained on: pieces of energies, mixed anew for every batch.

Sounds that are mixed add up in energy (the cross terms are zero on average), a louder sound is a multiple, a channel a
curve over the mels: so noise, babble, gain and channel cost a few multiplications a clip. What changes the waveform
otherwise (speed, rooms, clipping) is done once a variant, before the energies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from speechxfer.data.augment import add_room, change_speed
from speechxfer.wakeword.data.clips import find_speech_bounds
from speechxfer.wakeword.runtime.features import NUM_MELS, SAMPLE_RATE, compute_mel_energies

WINDOW_FRAMES = 240  # of a training window: 2.4 s
_AFTER = 50  # frames after the word's end in which the detector may still answer
SPEED_FACTORS = (Fraction(17, 20), Fraction(18, 20), Fraction(19, 20), Fraction(1), Fraction(21, 20), Fraction(22, 20),
           Fraction(23, 20))  # fmt: skip


@dataclass
class PositiveClip:
    """A clip of the word, (frames, MELS) energies, and the frames that the word fills."""

    energies: np.ndarray
    start: int
    end: int


@dataclass
class MixedBatch:
    """energies: (batch, FRAMES, MELS). positive: (batch,) bool. answer: (batch, FRAMES) where the word may be answered;
    quiet: (batch, FRAMES) where it must not be."""

    energies: np.ndarray
    positive: np.ndarray
    target_frames: np.ndarray
    quiet: np.ndarray


@dataclass
class TrainingMixer:
    """negatives: (frames, MELS) of all general speech, one after the other. near: sounds that resemble the word.

    mined: first frames of windows of `negatives` on which the detector fired.
    """

    positives: list[PositiveClip]
    negatives: np.ndarray
    near_misses: list[np.ndarray]
    noises: np.ndarray
    mined: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def sample_batch(self, size: int, rng: np.random.Generator) -> MixedBatch:
        """Two fifths positives, a fifth near misses, the rest general; half of the rest mined where there is any."""
        counts = [round(0.4 * size), round(0.2 * size) if self.near_misses else 0]
        windows = np.zeros((size, WINDOW_FRAMES, NUM_MELS), np.float32)
        answer, quiet = np.zeros((size, WINDOW_FRAMES), bool), np.ones((size, WINDOW_FRAMES), bool)
        positive = np.arange(size) < counts[0]
        for row in range(size):
            if row < counts[0]:
                self._place_word(windows[row], answer[row], quiet[row], rng)
            elif row < sum(counts):
                self._place(windows[row], self.near_misses[rng.integers(len(self.near_misses))], rng)
            else:
                windows[row] = self._speech(rng, mined=rng.random() < 0.5)
        return MixedBatch(self._heard(windows, rng), positive, answer, quiet)

    def _place_word(self, window: np.ndarray, answer: np.ndarray, quiet: np.ndarray, rng: np.random.Generator) -> None:
        """Put a positive anywhere in the window; before and after it the clip's own sound, silence or other speech."""
        clip = self.positives[rng.integers(len(self.positives))]
        length = clip.end - clip.start
        end = int(rng.integers(min(max(length + 5, 90), WINDOW_FRAMES - 20), WINDOW_FRAMES - 15))
        if rng.random() < 0.3 and len(self.negatives):  # run on from, and into, other speech
            other = self._speech(rng)
            level = _active(clip.energies) / max(_active(other), 1e-9)
            first, last = (
                max(0, end - length - int(rng.integers(0, 20))),
                min(WINDOW_FRAMES, end + int(rng.integers(2, 20))),
            )
            window[:first], window[last:] = other[:first] * level, other[last:] * level
            lead, tail = end - length - first, last - end
        else:
            lead, tail = WINDOW_FRAMES, WINDOW_FRAMES
        lead, tail = min(lead, clip.start, end - length), min(tail, len(clip.energies) - clip.end, WINDOW_FRAMES - end)
        piece = clip.energies[max(clip.start - max(lead, 0), clip.end - end, 0) : clip.end + tail]
        window[end + tail - len(piece) : end + tail] = piece
        middle = end - length + round(0.6 * length)
        answer[max(0, middle) : end + _AFTER] = True
        quiet[max(0, end - length + round(0.35 * length)) :] = False

    def _place(self, window: np.ndarray, sound: np.ndarray, rng: np.random.Generator) -> None:
        """A sound shorter than the window anywhere in it, a longer one cut anywhere; a third stand among speech."""
        if len(sound) >= WINDOW_FRAMES:
            start = int(rng.integers(0, len(sound) - WINDOW_FRAMES + 1))
            window[:] = sound[start : start + WINDOW_FRAMES]
            return
        start = int(rng.integers(0, WINDOW_FRAMES - len(sound) + 1))
        if rng.random() < 0.3 and len(self.negatives):
            other = self._speech(rng)
            window[:] = other * (_active(sound) / max(_active(other), 1e-9))
        window[start : start + len(sound)] = sound

    def _speech(self, rng: np.random.Generator, *, mined: bool = False) -> np.ndarray:
        """(FRAMES, MELS) of general negatives; zeros where there are none."""
        last = len(self.negatives) - WINDOW_FRAMES
        if last < 1:
            return np.zeros((WINDOW_FRAMES, NUM_MELS), np.float32)
        if mined and len(self.mined):
            start = int(np.clip(self.mined[rng.integers(len(self.mined))] + rng.integers(-60, 20), 0, last))
        else:
            start = int(rng.integers(0, last))
        return self.negatives[start : start + WINDOW_FRAMES]

    def _heard(self, windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The windows as a microphone might give them: another channel, noise or babble, another loudness."""
        size = len(windows)
        levels = np.array([_active(window) for window in windows], np.float32)
        heard = windows * _channels(size, rng, 8.0)
        for row in np.flatnonzero(rng.random(size) < 0.75):
            noise = self._noise(rng)
            noise = noise * _channels(1, rng, 6.0)[0] if rng.random() < 0.5 else noise
            reference = levels[row] if levels[row] > 1e-4 else 10 ** rng.uniform(-2, 2)
            snr = rng.uniform(0, 30)
            heard[row] += noise * (reference / 10 ** (snr / 10) / max(float(noise.mean(axis=0).sum()), 1e-9))
        gains = 10 ** (rng.uniform(-15, 10, size) / 10)
        floors = np.where(rng.random(size) < 0.5, 10 ** rng.uniform(-7, -4, size), 0.0)
        flutter = rng.gamma(4.0, 0.25, heard.shape).astype(np.float32)
        return (heard * gains[:, None, None] + floors[:, None, None] * flutter).astype(np.float32)

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        """Babble of three to eight, or a stretch of noise, either of them swelling at times."""
        if rng.random() < 0.45 and len(self.negatives) > WINDOW_FRAMES:
            voices = [self._speech(rng) for _ in range(rng.integers(3, 9))]
            noise = np.sum([voice / max(_active(voice), 1e-9) for voice in voices], axis=0)
        else:
            start = int(rng.integers(0, len(self.noises) - WINDOW_FRAMES))
            noise = self.noises[start : start + WINDOW_FRAMES]
        if rng.random() < 0.25:
            points = 10 ** (rng.uniform(-10, 0, 6) / 10)
            noise = noise * np.interp(np.linspace(0, 5, WINDOW_FRAMES), np.arange(6), points)[:, None]
        return noise.astype(np.float32)


def make_positive(energies: np.ndarray) -> PositiveClip:
    """A clip with the word's place by its loudness."""
    return PositiveClip(energies, *find_speech_bounds(energies))


def make_variants(waveform: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Energies of a waveform as it is and `count - 1` times changed in speed, by a room, by clipping."""
    found = [compute_mel_energies(waveform)]
    for _ in range(count - 1):
        changed = change_speed(waveform, SPEED_FACTORS[rng.integers(len(SPEED_FACTORS))])
        if rng.random() < 0.5:
            changed = add_room(changed, rng)
        if rng.random() < 0.15:
            top = float(np.abs(changed).max()) * rng.uniform(0.2, 0.7)
            changed = np.clip(changed, -top, top)
        found.append(compute_mel_energies(changed))
    return found


def make_partial_word_negatives(positive: PositiveClip, rng: np.random.Generator) -> list[np.ndarray]:
    """Near misses from the word's own recording, so that neither its voice nor its room gives it away:

    its beginning, its end, its halves in the other order, backwards, and the recording without the word.
    """
    clip, start, end = positive.energies, positive.start, positive.end
    if end - start < 20 or end - start > 0.9 * len(clip):  # where the word is, is not known
        return []
    cut = start + round((end - start) * rng.uniform(0.4, 0.6))
    before, after = clip[:start], clip[end:]
    around = np.concatenate([before, after])
    found = [
        np.concatenate([before, clip[start:cut], _filled(around, end - cut, rng), after]),
        np.concatenate([before, _filled(around, cut - start, rng), clip[cut:end], after]),
        np.concatenate([before, clip[cut:end], clip[start:cut], after]),
        np.concatenate([before, clip[start:end][::-1], after]),
    ]
    if len(around) > 30:
        found.append(_filled(around, WINDOW_FRAMES, rng))
    return found


def make_coloured_noises(rng: np.random.Generator, pieces: int = 60, seconds: float = 4.0) -> np.ndarray:
    """(frames, MELS) of noise from white to brown, some of it with hum and clicks, each piece of power 1."""
    found = []
    size = round(seconds * SAMPLE_RATE)
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 50)
    times = np.arange(size) / SAMPLE_RATE
    for _ in range(pieces):
        spectrum = np.fft.rfft(rng.standard_normal(size)) * frequencies ** (-rng.uniform(0, 2) / 2)
        noise = np.fft.irfft(spectrum, size)
        noise /= noise.std()
        if rng.random() < 0.2:
            base = rng.uniform(50, 400)
            hum = sum(np.sin(2 * np.pi * base * k * times + rng.uniform(0, 6)) / k for k in range(1, 8))
            noise += rng.uniform(0.5, 2) * hum
        if rng.random() < 0.2:
            clicks = np.convolve(
                rng.random(size) < 3 / SAMPLE_RATE, np.exp(-np.arange(800) / rng.uniform(10, 200)), "same"
            )
            noise += clicks * rng.standard_normal(size) * rng.uniform(5, 20)
        energies = compute_mel_energies((noise / noise.std()).astype(np.float32))
        found.append(energies / energies.sum(axis=1).mean())
    return np.concatenate(found)


def _filled(around: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """`encode_frames` frames drawn from those around a word: its room without it."""
    if not len(around):
        return np.zeros((frames, NUM_MELS), np.float32)
    quiet = around[around.sum(axis=1) <= np.percentile(around.sum(axis=1), 70)]
    return quiet[rng.integers(len(quiet), size=frames)]


def _active(energies: np.ndarray) -> float:
    """Mean energy of the frames that are not quiet: the level of the speech, not of the pauses."""
    power = energies.sum(axis=1)
    top = float(power.max(initial=0.0))
    return float(power[power >= 0.03 * top].mean()) if top > 0 else 0.0


def _channels(count: int, rng: np.random.Generator, decibels: float) -> np.ndarray:
    """(count, 1, MELS) smooth curves of gain, up to `decibels` up and down, and at times without the outer bands."""
    points = rng.uniform(-decibels, decibels, (count, 5))
    places = np.linspace(0, 4, NUM_MELS)
    low = np.minimum(places.astype(int), 3)
    share = places - low
    curves = points[:, low] * (1 - share) + points[:, low + 1] * share
    narrow = rng.random(count) < 0.1  # a telephone
    curves[narrow, :5] -= 25
    curves[narrow, 32:] -= 25
    return (10 ** (curves / 10)).astype(np.float32)[:, None, :]
