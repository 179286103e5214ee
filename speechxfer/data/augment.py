"""Augmentation: of waveforms (pitch, speed, room, noise, gain) and of hidden states (SpecAugment).

Everything is decided by the generator passed in: the same generator state gives the same result, on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample

from speechxfer.config import recipe
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE, length_mask

_RATIOS = (0.5, 2.0)  # of speed and pitch; beyond these, speech is no longer what a recogniser will meet
_WINDOW = 512  # samples, laid over each other to change the pitch: 32 ms hold two periods of a low voice
_NOISE_FLOOR = 50.0  # Hz; below it coloured noise stays flat, else most of its power would be inaudible
_REVERBERATION = (0.1, 0.6)  # s, RT60 of a synthetic room: a furnished one to a bare one
_DIRECT_TO_REVERBERANT = (0.0, 12.0)  # dB
_FIRST_REFLECTION = 0.0025  # s after the direct path
_LARGEST_SHARE = 5  # a time mask covers at most one fifth of its utterance


class WaveformAugmenter:
    """Waveform augmentation as a recipe's `augment` section says.

    `augment(waveform, rng)` takes (time,) float32 at 16 kHz and returns a new such array, or the same array where
    nothing was drawn for it. In order, as sound travels: pitch (of voice and vocal tract together, as a smaller or
    larger speaker's; tempo stays), speed perturbation (Ko et al. 2015: resampling, so tempo and pitch change
    together), a synthetic room (exponentially decaying noise as impulse response), coloured noise at
    a signal-to-noise ratio, gain. Results may pass ±1; nothing is clipped.

    longest: samples that a slowed utterance may not pass; the speed is left alone where it would (Whisper: 30 s).
    Raises `UserError` for speeds and pitches outside 0.5 to 2 and for a reversed `noise_snr`.
    """

    def __init__(self, settings: recipe.AugmentConfig, *, longest: int | None = None) -> None:
        self.settings, self.longest = settings, longest
        self._pitches = _ratios("pitch", settings.pitch)
        self._speeds = _ratios("speed", settings.speed)
        if settings.noise_snr[0] > settings.noise_snr[1]:
            raise UserError(
                f"{list(settings.noise_snr)} has its highest first",
                where="augment.noise_snr",
                fix="write the lowest ratio first",
            )

    def __call__(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        settings = self.settings
        if self._pitches:
            waveform = change_pitch(waveform, self._pitches[rng.integers(len(self._pitches))])
        if self._speeds:
            waveform = change_speed(waveform, self._speeds[rng.integers(len(self._speeds))], self.longest)
        if settings.room and rng.random() < settings.room:
            waveform = add_room(waveform, rng)
        if settings.noise and rng.random() < settings.noise:
            waveform = add_noise(waveform, rng.uniform(*settings.noise_snr), rng)
        if settings.gain:
            waveform = waveform * np.float32(10 ** (rng.uniform(-settings.gain, settings.gain) / 20))
        return waveform


def _ratios(key: str, asked: Sequence[float]) -> list[Fraction]:
    """As ratios of small integers, which keep the resampling kernel small whatever the rate."""
    low, high = _RATIOS
    for ratio in asked:
        if not low <= ratio <= high:
            raise UserError(f"{ratio} is not a usable {key}", where=f"augment.{key}", fix=f"stay in {low} to {high}")
    return [Fraction(ratio).limit_denominator(20) for ratio in asked]


def change_pitch(waveform: np.ndarray, pitch: Fraction) -> np.ndarray:
    """(time,) to (time,): every frequency `pitch` times as high at the same tempo: stretched, then resampled.

    Formants move with the voice's own pitch, as between a child and an adult. Unchanged below a window.
    """
    if pitch == 1 or len(waveform) < _WINDOW:
        return waveform
    longer = _stretched(waveform, math.ceil(len(waveform) * pitch))
    return resample(torch.tensor(longer), pitch.numerator, pitch.denominator).numpy()[: len(waveform)]


def _stretched(waveform: np.ndarray, size: int) -> np.ndarray:
    """(time,) to (size,) at another tempo, by WSOLA (Verhelst and Roelands 1993).

    Windows are laid over each other by half; each is taken from within a quarter window of its place, where the sound
    is most like that which followed the window before.
    """
    hop, reach = _WINDOW // 2, _WINDOW // 4
    count = -(-size // hop)
    latest = len(waveform)  # where the last window begins, once there is half a window of silence at both ends
    waveform = np.pad(waveform, hop)
    places = np.linspace(0, latest, count + 1).round().astype(int)
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    stretched = np.zeros(count * hop + _WINDOW, np.float32)
    taken = 0
    for number, place in enumerate(places):
        if number:
            following = waveform[min(taken + hop, latest) :][:_WINDOW]
            first = max(0, place - reach)
            near = waveform[first : min(latest, place + reach) + _WINDOW]
            taken = first + int(np.correlate(near, following).argmax())
        stretched[number * hop : number * hop + _WINDOW] += window * waveform[taken : taken + _WINDOW]
    return stretched[hop : hop + size]


def change_speed(waveform: np.ndarray, speed: Fraction, longest: int | None = None) -> np.ndarray:
    """(time,) to (ceil(time / speed),): played `speed` times as fast. Unchanged if slower and then over `max_samples`."""
    after = math.ceil(len(waveform) / speed)
    if speed == 1 or (longest is not None and len(waveform) < after and after > longest):
        return waveform
    return resample(torch.tensor(waveform), speed.numerator, speed.denominator).numpy()


def add_room(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(time,) to (time,): in a synthetic room, the direct path at its place and the energy as before."""
    decay = rng.uniform(*_REVERBERATION)
    ratio = 10 ** (rng.uniform(*_DIRECT_TO_REVERBERANT) / 10)
    times = np.arange(round(decay * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.standard_normal(len(times)) * 10 ** (-3 * times / decay)  # 60 dB down after `decay` seconds
    response[: round(_FIRST_REFLECTION * SAMPLE_RATE)] = 0
    response /= np.sqrt(np.sum(response**2) * ratio)
    response[0] = 1  # the direct path comes first, so that alignments hold
    size = _fast_length(len(waveform) + len(response))
    wet = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(response, size), size)[: len(waveform)]
    energy = float(np.sum(wet**2))
    if energy > 0:
        wet *= math.sqrt(float(np.sum(np.square(waveform, dtype=np.float64))) / energy)
    return wet.astype(np.float32)


def add_noise(waveform: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """(time,) to (time,): with noise `snr` dB below the utterance's mean power, coloured from white to brown."""
    slope = rng.uniform(0, 2)  # power falls as 1 / frequency ** slope: 0 white, 1 pink, 2 brown
    size = _fast_length(len(waveform))
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum *= np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), _NOISE_FLOOR) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, size)[: len(waveform)]
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    if power == 0:  # no speech, so no ratio to it
        return waveform
    noise *= math.sqrt(power / 10 ** (snr / 10) / float(np.mean(noise**2)))
    return (waveform + noise).astype(np.float32)


def add_babble(
    waveform: np.ndarray, voices: Sequence[np.ndarray], snr: float, rng: np.random.Generator, *, count: int = 5
) -> np.ndarray:
    """(time,) to (time,): with `count` of the voices, each as loud, together `snr` dB below the mean power.

    A voice begins anywhere, and again where it is shorter.
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    sound = np.zeros(len(waveform), np.float32)
    for place in rng.integers(len(voices), size=count):
        voice = voices[place] / max(float(voices[place].std()), 1e-6)
        sound += np.resize(np.roll(voice, rng.integers(len(voice))), len(waveform))
    loudness = float(np.mean(np.square(sound, dtype=np.float64))) if len(sound) else 0.0
    if not power or not loudness:
        return waveform
    return waveform + sound * np.float32(math.sqrt(power / 10 ** (snr / 10) / loudness))


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
    """SpecAugment (Park et al. 2019) on hidden states: masked values become zero, out of place; gradients flow.

    hidden: (batch, frames, dim); lengths: (batch,) frames. Each utterance gets its own masks: `time_masks` of up to
    `time_width_frames` frames, each at most a fifth of the utterance and within its true length, and `freq_masks` of
    up to `freq_width` (a share) of the channels. Nothing beyond a length is touched.

    generator: on the CPU, so that every device masks alike. An utterance takes `2 * (time_masks + freq_masks)` draws,
    in the batch's order, so its masks do not depend on the others' lengths or on padding.
    """
    if not time_masks and not freq_masks:
        return hidden
    batch, frames, dim = hidden.shape
    draws = torch.rand(batch, time_masks + freq_masks, 2, generator=generator, dtype=torch.float64)
    sizes = lengths.cpu()
    within = length_mask(sizes, frames)
    widest = torch.clamp(sizes // _LARGEST_SHARE, max=time_width_frames)
    in_time = _spans(draws[:, :time_masks], widest, sizes, frames)
    channels = torch.full_like(sizes, dim)
    in_channels = _spans(draws[:, time_masks:], (channels * freq_width).long(), channels, dim)
    in_time, in_channels, within = (mask.to(hidden.device) for mask in (in_time, in_channels, within))
    masked = (in_time[:, :, None] | in_channels[:, None, :]) & within[:, :, None]
    return hidden.masked_fill(masked, 0)


def _spans(draws: Tensor, widest: Tensor, lengths: Tensor, size: int) -> Tensor:
    """The union of each row's spans, (batch, size) boolean.

    draws: (batch, masks, 2) in [0, 1): the first gives a width of 0 to `widest`, the second a start such that the
    span ends within `lengths`; both (batch,).
    """
    widths = (draws[..., 0] * (widest + 1)[:, None]).long()
    starts = (draws[..., 1] * (lengths[:, None] - widths + 1)).long()
    steps = torch.arange(size)
    return ((steps >= starts[..., None]) & (steps < (starts + widths)[..., None])).any(1)
