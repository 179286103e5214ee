"""Augmentation against independent truth: known tones, measured ratios, and the promises of SpecAugment."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.config import recipe
from speechxfer.data.augment import (
    WaveformAugmenter,
    add_babble,
    add_noise,
    add_room,
    change_pitch,
    change_speed,
    spec_augment,
)
from speechxfer.errors import UserError

RATE = 16_000


def tone(hertz: float, seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def loudest(waveform: np.ndarray) -> float:
    return float(np.fft.rfftfreq(len(waveform), 1 / RATE)[np.abs(np.fft.rfft(waveform)).argmax()])


class TestSpeed:
    @pytest.mark.parametrize("speed", [0.9, 1.1, 1.05, 0.5, 2.0])
    def test_length_and_pitch_follow_the_speed(self, speed):
        before = tone(500, 2)
        after = WaveformAugmenter(recipe.AugmentConfig(speed=[speed]))(before, np.random.default_rng(0))
        assert after.dtype == np.float32
        assert len(after) == pytest.approx(len(before) / speed, abs=1)
        assert loudest(after) == pytest.approx(500 * speed, abs=1)

    def test_the_tone_keeps_its_level(self):
        after = change_speed(tone(500, 2), Fraction(11, 10))
        middle = after[1000:-1000]
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / math.sqrt(2), rel=0.01)

    def test_every_speed_is_drawn(self):
        augment, rng = WaveformAugmenter(recipe.AugmentConfig(speed=[0.8, 1.0, 1.25])), np.random.default_rng(0)
        assert {len(augment(tone(500, 1), rng)) for _ in range(40)} == {20_000, 16_000, 12_800}

    def test_a_slowed_utterance_stays_under_the_longest(self):
        augment = WaveformAugmenter(recipe.AugmentConfig(speed=[0.5]), max_samples=30 * RATE)
        long, short = noise(16), noise(15)
        assert augment(long, np.random.default_rng(0)) is long
        assert len(augment(short, np.random.default_rng(0))) == 30 * RATE

    def test_quickening_needs_no_limit(self):
        assert (
            len(
                WaveformAugmenter(recipe.AugmentConfig(speed=[2.0]), max_samples=RATE)(
                    noise(4), np.random.default_rng(0)
                )
            )
            == 2 * RATE
        )

    @pytest.mark.parametrize("speed", [0.0, -1.0, 0.01, 3.0])
    def test_an_impossible_speed_is_named(self, speed):
        with pytest.raises(UserError, match=r"augment\.speed"):
            WaveformAugmenter(recipe.AugmentConfig(speed=[speed]))


class TestPitch:
    @pytest.mark.parametrize("pitch", [0.8, 0.9, 1.1, 1.25])
    def test_pitch_moves_and_tempo_stays(self, pitch):
        before = np.concatenate([tone(500, 1), noise(0.5) * 0, tone(1000, 1)])
        after = WaveformAugmenter(recipe.AugmentConfig(pitch=[pitch]))(before, np.random.default_rng(0))
        assert after.dtype == np.float32
        assert len(after) == len(before)
        assert loudest(after[:RATE]) == pytest.approx(500 * pitch, abs=2)
        assert loudest(after[-RATE:]) == pytest.approx(1000 * pitch, abs=2)
        pause = after[round(1.1 * RATE) : round(1.4 * RATE)]
        assert np.abs(pause).max() < 0.01

    def test_the_tone_keeps_its_level(self):
        middle = change_pitch(tone(500, 2), Fraction(6, 5))[2000:-2000]
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / math.sqrt(2), rel=0.02)

    @pytest.mark.parametrize("samples", [0, 1, 511, 512, 513, 1000])
    def test_a_clip_of_any_length(self, samples):
        assert len(change_pitch(noise(1)[:samples], Fraction(9, 10))) == samples

    def test_none_is_none(self):
        assert change_pitch(before := noise(1), Fraction(1)) is before

    def test_an_impossible_pitch_is_named(self):
        with pytest.raises(UserError, match=r"augment\.pitch"):
            WaveformAugmenter(recipe.AugmentConfig(pitch=[3.0]))


class TestNoise:
    @pytest.mark.parametrize("snr", [-5.0, 0.0, 10.0, 25.0])
    def test_the_ratio_is_the_one_asked_for(self, snr):
        clean = tone(440, 1.3)
        added = add_noise(clean, snr, np.random.default_rng(1)) - clean
        assert 10 * math.log10(np.mean(clean**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.05)

    @pytest.mark.parametrize("snr", [0.0, 10.0])
    def test_babble_has_its_ratio_whatever_the_voices_loudness_and_length(self, snr):
        clean, voices = tone(440, 1.3), [tone(200, 0.4) * 0.01, tone(300, 2.0) * 3, np.zeros(500, np.float32)]
        added = add_babble(clean, voices, snr, np.random.default_rng(1)) - clean
        assert 10 * math.log10(np.mean(clean**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.05)
        assert add_babble(clean, voices[2:], snr, np.random.default_rng(1)) is clean  # nobody speaks
        assert not add_babble(np.zeros(900, np.float32), voices, snr, np.random.default_rng(1)).any()

    def test_the_share_is_kept(self):
        augment, rng, clean = (
            WaveformAugmenter(recipe.AugmentConfig(noise=0.3)),
            np.random.default_rng(2),
            tone(440, 0.1),
        )
        touched = sum(augment(clean, rng) is not clean for _ in range(1000))
        assert 240 < touched < 360

    def test_silence_stays_silent(self):
        assert not WaveformAugmenter(recipe.AugmentConfig(noise=1.0))(
            np.zeros(800, np.float32), np.random.default_rng(0)
        ).any()

    def test_a_reversed_range_is_named(self):
        with pytest.raises(UserError, match="noise_snr"):
            WaveformAugmenter(recipe.AugmentConfig(noise=1.0, noise_snr=(20.0, 5.0)))


class TestRoom:
    def test_energy_and_length_stay(self):
        dry = noise(1.5)
        wet = add_room(dry, np.random.default_rng(3))
        assert wet.shape == dry.shape and wet.dtype == np.float32
        assert np.sum(wet.astype(float) ** 2) == pytest.approx(np.sum(dry.astype(float) ** 2), rel=1e-4)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_direct_path_comes_first_and_the_tail_decays(self, seed):
        click = np.zeros(RATE, np.float32)
        click[400] = 1
        wet = np.abs(add_room(click, np.random.default_rng(seed)))
        assert wet[:400].max() < 1e-6
        assert wet.argmax() == 400
        assert wet[440:].max() > 1e-3
        early, late = np.sum(wet[440:1040] ** 2), np.sum(wet[1640:2240] ** 2)
        assert late < early
        assert wet[400 + round(0.6 * RATE) + 1 :].max() < 1e-6  # the longest reverberation is 0.6 s

    def test_silence_stays_silent(self):
        assert not add_room(np.zeros(800, np.float32), np.random.default_rng(0)).any()


class TestWhole:
    FULL = recipe.AugmentConfig(speed=[0.9, 1.0, 1.1], gain=6, noise=0.5, room=0.5)

    def test_nothing_asked_gives_the_same_array(self):
        clean = noise(0.2)
        assert WaveformAugmenter(recipe.AugmentConfig())(clean, np.random.default_rng(0)) is clean
        assert WaveformAugmenter(recipe.AugmentConfig(speed=[1.0]))(clean, np.random.default_rng(0)) is clean

    def test_gain_stays_within_its_bounds(self):
        augment, rng, clean = WaveformAugmenter(recipe.AugmentConfig(gain=6.0)), np.random.default_rng(4), noise(0.05)
        changes = [20 * math.log10(np.std(augment(clean, rng)) / np.std(clean)) for _ in range(200)]
        assert -6.01 <= min(changes) < -5 and 5 < max(changes) <= 6.01

    @settings(max_examples=40)
    @given(samples=st.integers(1, 6000), seed=st.integers(0, 2**32 - 1))
    def test_the_same_generator_gives_the_same_and_the_input_is_left_alone(self, samples, seed):
        clean = noise(samples / RATE)
        kept = clean.copy()
        first = WaveformAugmenter(self.FULL)(clean, np.random.default_rng(seed))
        second = WaveformAugmenter(self.FULL)(clean, np.random.default_rng(seed))
        assert np.array_equal(first, second)
        assert np.array_equal(clean, kept)
        assert first.dtype == np.float32 and np.isfinite(first).all() and len(first) > 0

    def test_a_read_only_array_is_welcome(self):
        clean = noise(0.2)
        clean.flags.writeable = False
        assert len(WaveformAugmenter(recipe.AugmentConfig(speed=[0.8]))(clean, np.random.default_rng(0))) == 4000


def masked(hidden, lengths, seed=0, **changes):
    asked = {"time_masks": 2, "time_width_frames": 20, "freq_masks": 2, "freq_width": 0.2} | changes
    return spec_augment(hidden, torch.tensor(lengths), generator=torch.Generator().manual_seed(seed), **asked)


class TestSpecAugment:
    @settings(max_examples=150)
    @given(
        lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5),
        time_masks=st.integers(0, 3),
        width=st.integers(1, 30),
        freq_masks=st.integers(0, 3),
        share=st.floats(0, 1),
        padding=st.integers(0, 7),
        seed=st.integers(0, 2**31),
    )
    def test_masks_stay_within_lengths_and_shares(self, lengths, time_masks, width, freq_masks, share, padding, seed):
        dim, frames = 10, max(lengths) + padding
        after = masked(
            torch.ones(len(lengths), frames, dim),
            lengths,
            seed,
            time_masks=time_masks,
            time_width_frames=width,
            freq_masks=freq_masks,
            freq_width=share,
        )
        for row, length in zip(after, lengths, strict=True):
            assert (row[length:] == 1).all()
            inside = row[:length] == 0
            if length == 0:
                continue
            channels = inside.all(0)  # masked throughout
            assert channels.sum() <= freq_masks * math.floor(share * dim + 1e-9)
            if not channels.all():
                times = inside[:, ~channels]
                assert (times.all(1) == times.any(1)).all()  # a time mask covers every channel
                assert times.all(1).sum() <= time_masks * min(width, length // 5)

    def test_no_masks_is_the_same_tensor(self):
        hidden = torch.randn(2, 8, 4)
        assert masked(hidden, [8, 5], time_masks=0, freq_masks=0) is hidden

    def test_masks_do_happen_and_reach_both_ends(self):
        first, last = 0, 0
        for seed in range(300):
            times = (masked(torch.ones(1, 50, 4), [50], seed, freq_masks=0)[0] == 0).all(1)
            first, last = first + int(times[0]), last + int(times[-1])
        assert first > 0 and last > 0

    def test_gradients_flow_through_what_is_left_and_the_input_stays(self):
        hidden = torch.randn(2, 40, 6, requires_grad=True)
        before = hidden.detach().clone()
        after = masked(hidden, [40, 30])
        after.sum().backward()
        assert torch.equal(hidden.detach(), before)
        assert torch.equal(hidden.grad == 0, after.detach() == 0)
        assert (hidden.grad == 0).any()

    @settings(max_examples=30)
    @given(lengths=st.lists(st.integers(1, 60), min_size=2, max_size=6), seed=st.integers(0, 2**31))
    def test_an_utterance_depends_on_the_draws_in_order_only(self, lengths, seed):
        together = masked(torch.ones(len(lengths), 60, 8), lengths, seed)
        generator = torch.Generator().manual_seed(seed)
        for row, length in zip(together, lengths, strict=True):
            alone = spec_augment(
                torch.ones(1, length, 8),
                torch.tensor([length]),
                time_masks=2,
                time_width_frames=20,
                freq_masks=2,
                freq_width=0.2,
                generator=generator,
            )
            assert torch.equal(alone[0], row[:length])
