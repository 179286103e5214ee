"""Whisper without its padding: the log-mel of an utterance alone, and the original way where asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechxfer.encoders.whisper import MIN_SAMPLES, WhisperEncoderWrapper
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE

EXTRACTOR = WhisperFeatureExtractor(feature_size=80)


@pytest.fixture(scope="module")
def whisper() -> WhisperEncoderWrapper:
    """A shallow random encoder that holds the published 30 s."""
    torch.manual_seed(0)
    config = WhisperConfig(d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16)
    return WhisperEncoderWrapper(WhisperEncoder(config).eval(), EXTRACTOR)


@pytest.fixture
def waveform() -> np.ndarray:
    generator = np.random.default_rng(0)
    return (0.1 * generator.standard_normal(2 * SAMPLE_RATE + 77)).astype(np.float32)


def test_log_mel_equals_transformers_extractor_on_the_utterance_alone(whisper, waveform):
    theirs = EXTRACTOR(waveform, sampling_rate=SAMPLE_RATE, padding=False, return_tensors="pt").input_features[0]
    torch.testing.assert_close(whisper.compute_log_mel(waveform), theirs, atol=1e-4, rtol=0)


def test_log_mel_padded_equals_transformers_extractor(whisper, waveform):
    padded = WhisperEncoderWrapper(whisper.module, EXTRACTOR, pad_to_30s=True)
    theirs = EXTRACTOR(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features[0]
    assert theirs.shape == (80, 3_000)
    torch.testing.assert_close(padded.compute_log_mel(waveform), theirs, atol=1e-4, rtol=0)


def test_a_loud_neighbour_changes_nothing(whisper, waveform):
    """Whisper clamps by the loudest point of what it is given: 8 units (80 dB) under its own, not the batch's."""
    quiet, loud = waveform * 0.01, waveform[:9_000] * 5
    alone = whisper.prepare([quiet]).features[0]
    together = whisper.prepare([loud, quiet]).features[1]
    assert together.equal(alone)


@settings(max_examples=40)
@given(samples=st.integers(0, 3 * SAMPLE_RATE))
def test_frames_of_is_the_number_of_frames(whisper, samples):
    waveform = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    with torch.no_grad():
        frames = whisper(whisper.prepare([waveform]))
    assert frames.states.shape[1] == int(frames.lengths[0]) == whisper.count_frames(samples) >= 1


def test_a_clip_under_a_tenth_of_a_second_is_filled_with_silence(whisper):
    clip = np.ones(300, dtype=np.float32)
    filled = np.concatenate([clip, np.zeros(MIN_SAMPLES - 300, dtype=np.float32)])
    assert whisper.compute_log_mel(clip).equal(whisper.compute_log_mel(filled))


def test_thirty_seconds_fit_and_a_sample_more_is_refused(whisper):
    assert whisper.max_samples == 30 * SAMPLE_RATE
    assert whisper.prepare([np.zeros(30 * SAMPLE_RATE, dtype=np.float32)]).features.shape == (1, 80, 3_000)
    with pytest.raises(UserError, match=r"30\.0 s of audio.*takes at most 30 s"):
        whisper.prepare([np.zeros(30 * SAMPLE_RATE + 1, dtype=np.float32)])


def test_padding_is_a_choice_that_can_change(whisper, waveform):
    encoder = WhisperEncoderWrapper(whisper.module, EXTRACTOR)
    with torch.no_grad():
        short = encoder(encoder.prepare([waveform]))
        encoder.pad_to_30s = True
        padded = encoder(encoder.prepare([waveform]))
    assert padded.states.shape[1] == encoder.count_frames(len(waveform)) == 1_500
    assert short.states.shape[1] == 100  # 2 s and 77 samples, 50 frames a second
    # the padded one attends to 28 s of silence: another result, which is why a model states its way
    assert (padded.states[0, :100] - short.states[0]).abs().max() > 1e-3
