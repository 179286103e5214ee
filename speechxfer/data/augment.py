"""Augmentation of waveforms (pitch, speed, room, noise, gain) and of hidden states (SpecAugment).

All randomness comes from the generator passed in: the same state gives the same result on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from speechxfer.config import recipe
from speechxfer.data.resampling import resample
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE, length_mask

_RATIOS = (0.5, 2.0)  # range of speed and pitch; beyond it, speech is not realistic
_WINDOW = 512  # samples of an overlap-add window: 32 ms hold two periods of a low voice
_NOISE_FLOOR = 50.0  # Hz; coloured noise is flat below, or most of its power would be inaudible
_REVERBERATION = (0.1, 0.6)  # s, RT60 of a synthetic room: furnished to bare
_DIRECT_TO_REVERBERANT = (0.0, 12.0)  # dB
_FIRST_REFLECTION = 0.0025  # s after the direct path
_LARGEST_SHARE = 5  # a time mask covers at most one fifth of its utterance


class WaveformAugmenter:
    """Waveform augmentation according to a recipe's `augment` section.

    `augmenter(waveform, rng)` takes (time,) float32 at 16 kHz and returns a new array, or the same array if no
    augmentation was drawn. In this order: pitch (shifted with the formants, like a smaller or larger speaker; tempo is
    kept), speed perturbation (Ko et al. 2015: resampling, so tempo and pitch change together), a synthetic room
    (exponentially decaying noise as impulse response), coloured noise at a signal-to-noise ratio, gain. Samples may
    exceed ±1; nothing is clipped.

    max_samples: maximum length of a slowed utterance; its speed is kept otherwise (Whisper: 30 s).
    Raises: UserError for speeds and pitches outside 0.5 to 2 and for a reversed `noise_snr`.
    """

    def __init__(self, settings: recipe.AugmentConfig, *, max_samples: int | None = None) -> None:
        self.settings, self.max_samples = settings, max_samples
        self._pitches = _to_fractions("pitch", settings.pitch)
        self._speeds = _to_fractions("speed", settings.speed)
        if settings.noise_snr[0] > settings.noise_snr[1]:
            raise UserError(
                f"{list(settings.noise_snr)} has the higher ratio first",
                where="augment.noise_snr",
                fix="write the lowest ratio first",
            )

    def __call__(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        settings = self.settings
        if self._pitches:
            waveform = change_pitch(waveform, self._pitches[rng.integers(len(self._pitches))])
        if self._speeds:
            waveform = change_speed(waveform, self._speeds[rng.integers(len(self._speeds))], self.max_samples)
        if settings.room and rng.random() < settings.room:
            waveform = add_room(waveform, rng)
        if settings.noise and rng.random() < settings.noise:
            waveform = add_noise(waveform, rng.uniform(*settings.noise_snr), rng)
        if settings.gain:
            waveform = waveform * np.float32(10 ** (rng.uniform(-settings.gain, settings.gain) / 20))
        return waveform


def _to_fractions(key: str, values: Sequence[float]) -> list[Fraction]:
    """Convert to ratios of small integers: the rates between which `change_speed` resamples."""
    low, high = _RATIOS
    for ratio in values:
        if not low <= ratio <= high:
            raise UserError(f"{ratio} is not a usable {key}", where=f"augment.{key}", fix=f"stay in {low} to {high}")
    return [Fraction(ratio).limit_denominator(20) for ratio in values]


def change_pitch(waveform: np.ndarray, pitch: Fraction) -> np.ndarray:
    """Multiply all frequencies of (time,) samples by `pitch` at the same tempo: time-stretching, then resampling.

    The formants move with the pitch, as between a child and an adult. Waveforms shorter than a window are unchanged.
    """
    if pitch == 1 or len(waveform) < _WINDOW:
        return waveform
    longer = _stretch(waveform, math.ceil(len(waveform) * pitch))
    return resample(longer, pitch.numerator, pitch.denominator)[: len(waveform)]


def _stretch(waveform: np.ndarray, size: int) -> np.ndarray:
    """Time-stretch (time,) to (size,) by WSOLA (Verhelst and Roelands 1993).

    Windows overlap by half; each is taken from within a quarter window of its position, where the waveform is most
    similar to what followed the previous window.
    """
    hop, reach = _WINDOW // 2, _WINDOW // 4
    count = -(-size // hop)
    latest = len(waveform)  # start of the last window, after padding with half a window of silence at both ends
    waveform = np.pad(waveform, hop)
    positions = np.linspace(0, latest, count + 1).round().astype(int)
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    stretched = np.zeros(count * hop + _WINDOW, np.float32)
    taken = 0
    for number, position in enumerate(positions):
        if number:
            following = waveform[min(taken + hop, latest) :][:_WINDOW]
            first = max(0, position - reach)
            near = waveform[first : min(latest, position + reach) + _WINDOW]
            taken = first + int(np.correlate(near, following).argmax())
        stretched[number * hop : number * hop + _WINDOW] += window * waveform[taken : taken + _WINDOW]
    return stretched[hop : hop + size]


def change_speed(waveform: np.ndarray, speed: Fraction, max_samples: int | None = None) -> np.ndarray:
    """Play (time,) samples `speed` times as fast: (ceil(time / speed),). Unchanged if that would exceed `max_samples`.

    A waveform that gets shorter is never limited.
    """
    after = math.ceil(len(waveform) / speed)
    if speed == 1 or (max_samples is not None and len(waveform) < after and after > max_samples):
        return waveform
    return resample(waveform, speed.numerator, speed.denominator)


def add_room(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the reverberation of a synthetic room to (time,) samples; the direct path stays aligned, energy is kept."""
    decay = rng.uniform(*_REVERBERATION)
    ratio = 10 ** (rng.uniform(*_DIRECT_TO_REVERBERANT) / 10)
    times = np.arange(round(decay * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.standard_normal(len(times)) * 10 ** (-3 * times / decay)  # 60 dB down after `decay` seconds
    response[: round(_FIRST_REFLECTION * SAMPLE_RATE)] = 0
    response /= np.sqrt(np.sum(response**2) * ratio)
    response[0] = 1  # direct path without delay, so that alignments stay valid
    size = _fast_length(len(waveform) + len(response))
    wet = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(response, size), size)[: len(waveform)]
    energy = float(np.sum(wet**2))
    if energy > 0:
        wet *= math.sqrt(float(np.sum(np.square(waveform, dtype=np.float64))) / energy)
    return wet.astype(np.float32)


def add_noise(waveform: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise `snr` dB below the mean power of (time,) samples, coloured from white to brown."""
    slope = rng.uniform(0, 2)  # power falls as 1 / frequency ** slope: 0 white, 1 pink, 2 brown
    size = _fast_length(len(waveform))
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum *= np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), _NOISE_FLOOR) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, size)[: len(waveform)]
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    if power == 0:  # without speech there is no SNR
        return waveform
    noise *= math.sqrt(power / 10 ** (snr / 10) / float(np.mean(noise**2)))
    return (waveform + noise).astype(np.float32)


def add_babble(
    waveform: np.ndarray, voices: Sequence[np.ndarray], snr: float, rng: np.random.Generator, *, count: int = 5
) -> np.ndarray:
    """Add `count` of the voices, equally loud and together `snr` dB below the mean power of (time,) samples.

    Each voice starts at a random offset, and repeats if it is shorter than the waveform.
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    babble = np.zeros(len(waveform), np.float32)
    for index in rng.integers(len(voices), size=count):
        voice = voices[index] / max(float(voices[index].std()), 1e-6)
        babble += np.resize(np.roll(voice, rng.integers(len(voice))), len(waveform))
    babble_power = float(np.mean(np.square(babble, dtype=np.float64))) if len(babble) else 0.0
    if not power or not babble_power:
        return waveform
    return waveform + babble * np.float32(math.sqrt(power / 10 ** (snr / 10) / babble_power))


def _fast_length(size: int) -> int:
    return 1 << max(1, size - 1).bit_length()


def spec_augment(
    hidden: Tensor,
    lengths: Tensor,
    *,
    time_masks: int,
    time_width_frames: int,
    freq_masks: int,
    freq_width: float,
    generator: torch.Generator,
) -> Tensor:
    """Apply SpecAugment (Park et al. 2019) to hidden states: masked values become zero, out of place, differentiably.

    hidden: (batch, frames, dim); lengths: (batch,) frames. Each utterance gets its own masks: `time_masks` of up to
    `time_width_frames` frames, each at most a fifth of the utterance and within its true length, and `freq_masks` of
    up to `freq_width` (a share) of the channels. Padding is not changed.

    generator: on the CPU, so that the masks do not depend on the device. Each utterance takes
    `2 * (time_masks + freq_masks)` draws, in batch order, so its masks do not depend on other lengths or on padding.
    """
    if not time_masks and not freq_masks:
        return hidden
    batch, frames, dim = hidden.shape
    draws = torch.rand(batch, time_masks + freq_masks, 2, generator=generator, dtype=torch.float64)
    within = length_mask(lengths, frames)
    widest = torch.clamp(lengths // _LARGEST_SHARE, max=time_width_frames)
    in_time = _draw_spans(draws[:, :time_masks], widest, lengths, frames)
    channels = torch.full_like(lengths, dim)
    in_channels = _draw_spans(draws[:, time_masks:], (channels * freq_width).long(), channels, dim)
    in_time, in_channels, within = (mask.to(hidden.device) for mask in (in_time, in_channels, within))
    masked = (in_time[:, :, None] | in_channels[:, None, :]) & within[:, :, None]
    return hidden.masked_fill(masked, 0)


def _draw_spans(draws: Tensor, widest: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Return the union of each row's spans as a (batch, size) boolean mask.

    draws: (batch, masks, 2) in [0, 1): the first gives a width of 0 to `widest`, the second a start such that the
    span ends within `lengths`; both (batch,).
    """
    widths = (draws[..., 0] * (widest + 1)[:, None]).long()
    starts = (draws[..., 1] * (lengths[:, None] - widths + 1)).long()
    steps = torch.arange(size)
    return ((steps >= starts[..., None]) & (steps < (starts + widths)[..., None])).any(1)
