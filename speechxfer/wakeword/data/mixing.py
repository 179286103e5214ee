"""Training batches of a detector, mixed for every step on mel energies.

When sounds are mixed, their energies add up (the cross terms are zero on average), gain is a factor, and a channel is a
curve over the mels; noise, babble, gain and channel therefore cost only a few multiplications per clip. Augmentations
that change the waveform in other ways (speed, room, clipping) are applied once per variant, before the energies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from speechxfer.data.augment import add_room, change_speed
from speechxfer.wakeword.data.clips import find_speech_bounds
from speechxfer.wakeword.runtime.features import NUM_MELS, SAMPLE_RATE, compute_mel_energies

WINDOW_FRAMES = 240  # frames of a training window: 2.4 s
SPEED_FACTORS = tuple(Fraction(twentieths, 20) for twentieths in range(17, 24))
_LEVELS = (-15.0, 10.0)  # dB, range of the gain of a window
_QUIET_LEVELS = (-36.0, -15.0)  # dB, of quiet windows: a distant speaker, or a microphone with little gain
_FLOORS, _QUIET_FLOORS = (-7.0, -4.0), (-7.0, -5.5)  # log10 of the energy; a higher floor would hide quiet speech
_FRAMES_AFTER_WORD = 50  # frames after the word's end in which the detector may still fire


@dataclass
class PositiveClip:
    """A clip of the word: (frames, NUM_MELS) energies, and the frames `start` to `end` that the word covers."""

    energies: np.ndarray
    start: int
    end: int


@dataclass
class MixedBatch:
    """A training batch.

    energies: (batch, WINDOW_FRAMES, NUM_MELS). positive: (batch,) bool. target_frames: (batch, WINDOW_FRAMES) frames in
    which the detector should fire. quiet: (batch, WINDOW_FRAMES) frames in which it must not.
    """

    energies: np.ndarray
    positive: np.ndarray
    target_frames: np.ndarray
    quiet: np.ndarray


@dataclass
class TrainingMixer:
    """Sounds to train on, and the sampling of batches from them.

    negatives: (frames, NUM_MELS) of all general speech, concatenated. near_misses: sounds similar to the word.
    noises: (frames, NUM_MELS). mined: first frames of windows of `negatives` on which the detector fired.
    quiet_share: share of the windows that are 15 to 36 dB quieter.
    """

    positives: list[PositiveClip]
    negatives: np.ndarray
    near_misses: list[np.ndarray]
    noises: np.ndarray
    mined: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    quiet_share: float = 0.0

    def sample_batch(self, size: int, rng: np.random.Generator) -> MixedBatch:
        """Sample 40 % positives, 20 % near misses and 40 % general speech, half of it from mined windows if any."""
        counts = [round(0.4 * size), round(0.2 * size) if self.near_misses else 0]
        windows = np.zeros((size, WINDOW_FRAMES, NUM_MELS), np.float32)
        target_frames, quiet = np.zeros((size, WINDOW_FRAMES), bool), np.ones((size, WINDOW_FRAMES), bool)
        positive = np.arange(size) < counts[0]
        for row in range(size):
            if row < counts[0]:
                self._place_word(windows[row], target_frames[row], quiet[row], rng)
            elif row < sum(counts):
                self._place_sound(windows[row], self.near_misses[rng.integers(len(self.near_misses))], rng)
            else:
                windows[row] = self._sample_speech(rng, mined=rng.random() < 0.5)
        return MixedBatch(self._augment(windows, rng), positive, target_frames, quiet)

    def _place_word(
        self, window: np.ndarray, target_frames: np.ndarray, quiet: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Place a positive at a random position, surrounded by the clip's own sound, silence or other speech."""
        clip = self.positives[rng.integers(len(self.positives))]
        length = clip.end - clip.start
        end = int(rng.integers(min(max(length + 5, 90), WINDOW_FRAMES - 20), WINDOW_FRAMES - 15))
        if rng.random() < 0.3 and len(self.negatives):  # surround the word with other speech
            speech = self._sample_speech(rng)
            gain = _active_level(clip.energies) / max(_active_level(speech), 1e-9)
            first = max(0, end - length - int(rng.integers(0, 20)))
            last = min(WINDOW_FRAMES, end + int(rng.integers(2, 20)))
            window[:first], window[last:] = speech[:first] * gain, speech[last:] * gain
            lead, tail = end - length - first, last - end
        else:
            lead, tail = WINDOW_FRAMES, WINDOW_FRAMES
        lead, tail = min(lead, clip.start, end - length), min(tail, len(clip.energies) - clip.end, WINDOW_FRAMES - end)
        piece = clip.energies[max(clip.start - max(lead, 0), clip.end - end, 0) : clip.end + tail]
        window[end + tail - len(piece) : end + tail] = piece
        middle = end - length + round(0.6 * length)
        target_frames[max(0, middle) : end + _FRAMES_AFTER_WORD] = True
        quiet[max(0, end - length + round(0.35 * length)) :] = False

    def _place_sound(self, window: np.ndarray, sound: np.ndarray, rng: np.random.Generator) -> None:
        """Place a short sound at a random position, 30 % of them in speech; cut a long one at a random position."""
        if len(sound) >= WINDOW_FRAMES:
            start = int(rng.integers(0, len(sound) - WINDOW_FRAMES + 1))
            window[:] = sound[start : start + WINDOW_FRAMES]
            return
        start = int(rng.integers(0, WINDOW_FRAMES - len(sound) + 1))
        if rng.random() < 0.3 and len(self.negatives):
            speech = self._sample_speech(rng)
            window[:] = speech * (_active_level(sound) / max(_active_level(speech), 1e-9))
        window[start : start + len(sound)] = sound

    def _sample_speech(self, rng: np.random.Generator, *, mined: bool = False) -> np.ndarray:
        """Return (WINDOW_FRAMES, NUM_MELS) of the negatives, or zeros if there are none."""
        last = len(self.negatives) - WINDOW_FRAMES
        if last < 1:
            return np.zeros((WINDOW_FRAMES, NUM_MELS), np.float32)
        if mined and len(self.mined):
            start = int(np.clip(self.mined[rng.integers(len(self.mined))] + rng.integers(-60, 20), 0, last))
        else:
            start = int(rng.integers(0, last))
        return self.negatives[start : start + WINDOW_FRAMES]

    def _augment(self, windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply a random channel, noise or babble, gain and noise floor to each window."""
        size = len(windows)
        levels = np.array([_active_level(window) for window in windows], np.float32)
        augmented = windows * _sample_channels(size, rng, 8.0)
        for row in np.flatnonzero(rng.random(size) < 0.75):
            noise = self._sample_noise(rng)
            noise = noise * _sample_channels(1, rng, 6.0)[0] if rng.random() < 0.5 else noise
            reference = levels[row] if levels[row] > 1e-4 else 10 ** rng.uniform(-2, 2)
            snr = rng.uniform(0, 30)
            augmented[row] += noise * (reference / 10 ** (snr / 10) / max(float(noise.mean(axis=0).sum()), 1e-9))
        gains = 10 ** (rng.uniform(*_LEVELS, size) / 10)
        floors = np.where(rng.random(size) < 0.5, 10 ** rng.uniform(*_FLOORS, size), 0.0)
        if self.quiet_share:
            is_quiet = rng.random(size) < self.quiet_share
            gains = np.where(is_quiet, 10 ** (rng.uniform(*_QUIET_LEVELS, size) / 10), gains)
            floors = np.where(is_quiet & (floors > 0), 10 ** rng.uniform(*_QUIET_FLOORS, size), floors)
        flutter = rng.gamma(4.0, 0.25, augmented.shape).astype(np.float32)
        return (augmented * gains[:, None, None] + floors[:, None, None] * flutter).astype(np.float32)

    def _sample_noise(self, rng: np.random.Generator) -> np.ndarray:
        """Return babble of three to eight speakers or a piece of noise, 25 % of them with a varying level."""
        if rng.random() < 0.45 and len(self.negatives) > WINDOW_FRAMES:
            speakers = [self._sample_speech(rng) for _ in range(rng.integers(3, 9))]
            noise = np.sum([speech / max(_active_level(speech), 1e-9) for speech in speakers], axis=0)
        else:
            start = int(rng.integers(0, len(self.noises) - WINDOW_FRAMES))
            noise = self.noises[start : start + WINDOW_FRAMES]
        if rng.random() < 0.25:
            points = 10 ** (rng.uniform(-10, 0, 6) / 10)
            noise = noise * np.interp(np.linspace(0, 5, WINDOW_FRAMES), np.arange(6), points)[:, None]
        return noise.astype(np.float32)


def make_positive(energies: np.ndarray) -> PositiveClip:
    """Locate the word in a clip by its loudness."""
    return PositiveClip(energies, *find_speech_bounds(energies))


def make_variants(waveform: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the energies of a waveform and of `count - 1` copies with random speed, room and clipping."""
    variants = [compute_mel_energies(waveform)]
    for _ in range(count - 1):
        changed = change_speed(waveform, SPEED_FACTORS[rng.integers(len(SPEED_FACTORS))])
        if rng.random() < 0.5:
            changed = add_room(changed, rng)
        if rng.random() < 0.15:
            limit = float(np.abs(changed).max()) * rng.uniform(0.2, 0.7)
            changed = np.clip(changed, -limit, limit)
        variants.append(compute_mel_energies(changed))
    return variants


def make_partial_word_negatives(positive: PositiveClip, rng: np.random.Generator) -> list[np.ndarray]:
    """Make negatives from a recording of the word, so that neither its speaker nor its room predicts the label.

    Returns (frames, NUM_MELS) of: the first part of the word and its last part, the rest replaced by background; the
    two parts swapped; the word reversed; and, if more than 30 frames surround the word, a window of that background.
    Returns nothing if the word's bounds are unreliable: under 20 frames, or over 90 % of the clip.
    """
    clip, start, end = positive.energies, positive.start, positive.end
    if end - start < 20 or end - start > 0.9 * len(clip):  # the word's bounds are unreliable
        return []
    cut = start + round((end - start) * rng.uniform(0.4, 0.6))
    before, after = clip[:start], clip[end:]
    around = np.concatenate([before, after])
    negatives = [
        np.concatenate([before, clip[start:cut], _sample_background(around, end - cut, rng), after]),
        np.concatenate([before, _sample_background(around, cut - start, rng), clip[cut:end], after]),
        np.concatenate([before, clip[cut:end], clip[start:cut], after]),
        np.concatenate([before, clip[start:end][::-1], after]),
    ]
    if len(around) > 30:
        negatives.append(_sample_background(around, WINDOW_FRAMES, rng))
    return negatives


def make_coloured_noises(rng: np.random.Generator, pieces: int = 60, seconds: float = 4.0) -> np.ndarray:
    """Return (frames, NUM_MELS) of white to brown noise, some with hum and clicks, each piece of mean power 1."""
    noises = []
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
        noises.append(energies / energies.sum(axis=1).mean())
    return np.concatenate(noises)


def _sample_background(around: np.ndarray, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Sample `num_frames` quiet frames from those around a word; zeros if there are none."""
    if not len(around):
        return np.zeros((num_frames, NUM_MELS), np.float32)
    quiet = around[around.sum(axis=1) <= np.percentile(around.sum(axis=1), 70)]
    return quiet[rng.integers(len(quiet), size=num_frames)]


def _active_level(energies: np.ndarray) -> float:
    """Return the mean energy of the frames that are not pauses."""
    power = energies.sum(axis=1)
    peak = float(power.max(initial=0.0))
    return float(power[power >= 0.03 * peak].mean()) if peak > 0 else 0.0


def _sample_channels(count: int, rng: np.random.Generator, decibels: float) -> np.ndarray:
    """Sample (count, 1, NUM_MELS) smooth gain curves within ±`decibels`, 10 % of them without the outer bands."""
    points = rng.uniform(-decibels, decibels, (count, 5))
    positions = np.linspace(0, 4, NUM_MELS)
    low = np.minimum(positions.astype(int), 3)
    share = positions - low
    curves = points[:, low] * (1 - share) + points[:, low + 1] * share
    narrow = rng.random(count) < 0.1  # telephone band
    curves[narrow, :5] -= 25
    curves[narrow, 32:] -= 25
    return (10 ** (curves / 10)).astype(np.float32)[:, None, :]
