"""Every family: split anywhere, the same in any batch, frozen where it should be.

`small` is each family in turn and `make` one by its name (conftest.py): random weights, biases and statistics.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

import speechxfer.encoders
from speechxfer.encoders import FEATURE_OUTPUT
from speechxfer.shapes import SAMPLE_RATE, Hidden

TOLERANCE = 1e-4
BROKEN = 1e-3  # a missing mask moves frames by more than this


@pytest.mark.filterwarnings("error")  # WavLM's mismatched masks, too
def test_no_warning_is_given(small):
    small.frames_alone(small.waveforms(2))
    assert small.difference_in_a_batch(small.waveforms(3)) < TOLERANCE


def test_a_split_at_every_layer_gives_the_whole(small):
    encoder = small.encoder
    with torch.no_grad():
        inputs = encoder.prepare(small.waveforms(5))
        whole = encoder(inputs)
        for layer in range(FEATURE_OUTPUT, encoder.depth + 1):
            hidden = encoder.forward_to(inputs, layer)
            assert hidden.layer == layer
            assert hidden.lengths.equal(whole.lengths) or "adapter" in small.name  # which shortens them above the split
            # what a cache keeps: the valid states alone, padded anew with others
            kept = Hidden(hidden.states.clone(), hidden.lengths.clone(), layer)
            for row, length in zip(kept.states, kept.lengths.tolist(), strict=True):
                row[length:] = 0
            torch.testing.assert_close(encoder.forward_from(kept).states, whole.states, atol=TOLERANCE, rtol=0)


def test_equal_lengths_equal_batch_one(small):
    generator = np.random.default_rng(3)
    assert small.difference_in_a_batch([small.waveform(2_000, generator) for _ in range(4)]) < TOLERANCE


def test_a_shuffled_batch_of_very_different_lengths_equals_batch_one(small):
    waveforms = small.waveforms(16)
    assert max(map(len, waveforms)) > 15 * min(map(len, waveforms))
    assert small.difference_in_a_batch(waveforms) < TOLERANCE


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(0, 3_000), min_size=2, max_size=5))
def test_any_mixture_of_lengths_equals_batch_one(small, lengths):
    assert small.difference_in_a_batch([small.waveform(n) for n in lengths]) < TOLERANCE


def test_nothing_is_left_beyond_a_length(small):
    with torch.no_grad():
        frames = small.encoder(small.encoder.prepare(small.waveforms(6)))
    for states, length in zip(frames.states, frames.lengths.tolist(), strict=True):
        assert states[length:].eq(0).all() and states[:length].abs().sum(-1).gt(0).all()


def test_frames_of_says_how_many_there_are(small):
    encoder = small.encoder
    lengths = [0, 1, 5, 44, 45, 46, 64, 65, 399, 400, 559, 560, 719, 720, 721, 1_599, 1_600, 1_761, 3_217]
    waveforms = [small.waveform(n) for n in lengths]
    with torch.no_grad():
        found = [int(encoder(encoder.prepare([waveform])).lengths[0]) for waveform in waveforms]
        shapes = [encoder(encoder.prepare([waveform])).states.shape[1] for waveform in waveforms]
    assert [encoder.count_frames(n) for n in lengths] == found == shapes
    assert min(found) >= 1


def test_train_mode_takes_the_shortest_clips(small):
    """transformers' own forward raises there: its random masks are longer than the clip."""
    small.model.train()
    waveforms = [small.waveform(n) for n in (0, 1, 30, 700)]
    frames = small.encoder(small.encoder.prepare(waveforms))
    assert frames.lengths.min() >= 1 and frames.states.isfinite().all()
    frames.states.sum().backward()


def test_train_mode_drops_no_layer_and_masks_nothing(small):
    small.remove_dropout()
    small.model.config.layerdrop = 1.0
    waveforms = small.waveforms(5)
    expected = small.frames_alone(waveforms)
    small.model.train()
    assert small.difference_in_a_batch(waveforms) < TOLERANCE
    for a, b in zip(small.frames_alone(waveforms), expected, strict=True):
        torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=0)


def test_gradients_flow_above_the_split_alone(small):
    encoder = small.encoder
    inputs = encoder.prepare(small.waveforms(3))
    for split in range(FEATURE_OUTPUT, encoder.depth + 1):
        small.model.zero_grad()
        encoder.module.requires_grad_(False)
        for module in small.list_modules():
            module.requires_grad_(True)
        for module in encoder.list_modules_below(split):
            module.requires_grad_(False)
        states = encoder(inputs).states
        if split == encoder.depth:
            assert not states.requires_grad
            continue
        (states * torch.linspace(-1, 1, encoder.dim)).sum().backward()
        reached = {name for name, p in encoder.module.named_parameters() if p.grad is not None and p.grad.any()}
        below = {id(p) for module in encoder.list_modules_below(split) for p in module.parameters()}
        frozen = {name for name, p in encoder.module.named_parameters() if id(p) in below}
        assert not reached & frozen
        for k, layer in enumerate(encoder.layers):
            weights = [p for p in layer.parameters() if p.ndim > 1]
            got = [p.grad is not None and bool(p.grad.any()) for p in weights]
            assert all(got) if k >= split else not any(got), (split, k)


def test_every_parameter_stands_in_one_place(small):
    """Front end, between, layers and above together are the encoder, so that freezing misses nothing."""
    named = [id(p) for module in small.list_modules() for p in module.parameters()]
    assert len(named) == len(set(named))
    left = {name for name, p in small.encoder.module.named_parameters() if id(p) not in set(named)}
    # Whisper's sinusoids never train; the other is transformers' own masking, which is never used
    assert left <= {"embed_positions.weight", "masked_spec_embed"}


@pytest.mark.filterwarnings("ignore:Support for mismatched")  # WavLM's, when the backward pass runs a layer again
def test_gradient_checkpointing_changes_no_gradient(small):
    encoder, inputs = small.encoder, small.encoder.prepare(small.waveforms(4))

    def gradients() -> list[torch.Tensor]:
        small.model.zero_grad()
        states = encoder(inputs).states
        (states * torch.linspace(-1, 1, encoder.dim)).sum().backward()
        return [p.grad.clone() for layer in encoder.layers for p in layer.parameters() if p.grad is not None]

    small.remove_dropout()
    small.model.train()
    plain = gradients()
    for layer in encoder.layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)
    for a, b in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_bfloat16_by_autocast_and_by_weights(small):
    encoder, waveforms = small.encoder, small.waveforms(4)
    with torch.no_grad():
        inputs = encoder.prepare(waveforms)
        exact = encoder(inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = encoder(inputs)
        small.model.to(torch.bfloat16)
        low = encoder(inputs.to("cpu", torch.bfloat16))
    assert low.states.dtype == torch.bfloat16
    for frames in (mixed, low):
        assert frames.lengths.equal(exact.lengths)
        assert (frames.states.float() - exact.states).abs().mean() < 0.1 * exact.states.std()


def test_silence_around_is_part_of_the_utterance(small):
    """As if the recording had it: the same frames, in any batch, and none past what the encoder holds."""
    encoder = small.encoder
    quiet = np.zeros(round(0.02 * SAMPLE_RATE), dtype=np.float32)
    room = (encoder.max_samples or SAMPLE_RATE) - 2 * len(quiet)
    waveforms = [waveform[:room] for waveform in small.waveforms(4)]
    recorded = small.frames_alone([np.concatenate([quiet, waveform, quiet]) for waveform in waveforms])
    encoder.pad_silence = 0.02
    try:
        assert small.difference_in_a_batch(waveforms) < TOLERANCE
        for ours, theirs in zip(small.frames_alone(waveforms), recorded, strict=True):
            assert ours.equal(theirs)
        if encoder.max_samples is not None:
            nearly = np.zeros(encoder.max_samples - 100, dtype=np.float32)
            assert encoder.prepare([nearly]).lengths.item() == encoder.max_samples // 160
    finally:
        encoder.pad_silence = 0.0


# -- what would happen without the masks ---------------------------------------------------------------------------
def remove(monkeypatch: pytest.MonkeyPatch, name: str, replacement) -> None:
    """Put `replacement` in the place of `name` wherever an encoder's module has it."""
    found = 0
    for info in pkgutil.iter_modules(speechxfer.encoders.__path__):
        module = importlib.import_module(f"speechxfer.encoders.{info.name}")
        if hasattr(module, name):
            monkeypatch.setattr(module, name, replacement)
            found += 1
    assert found


WITHOUT = {
    "make_additive_mask": lambda states, lengths: None,
    "mask_padding": lambda states, lengths: states,
    "length_mask": lambda lengths, size, device: torch.ones(len(lengths), size, dtype=torch.bool),
    "_norm_over_time": lambda norm, states, lengths: norm(states),
}


LOAD_BEARING = [
    *[
        (name, "make_additive_mask")
        for name in ("wav2vec2-layer", "mms", "hubert", "hubert-stable", "data2vec", "whisper")
    ],
    *[(name, "make_additive_mask") for name in ("conformer-relative", "conformer-rotary", "bert", "bert-rotary")],
    *[(name, "length_mask") for name in ("wavlm", "wavlm-stable", "whisper")],
    *[(name, "mask_padding") for name in ("wav2vec2-adapter", "bert-adapter")],
    *[(name, "mask_padding") for name in ("wav2vec2-group", "wav2vec2-layer", "hubert-stable", "wavlm", "data2vec")],
    *[(name, "mask_padding") for name in ("conformer-relative", "conformer-rotary")],
    *[(name, "_norm_over_time") for name in ("wav2vec2-group", "wav2vec2-group-stable", "hubert", "wavlm")],
]


@pytest.mark.parametrize(("name", "mask"), LOAD_BEARING)
def test_frames_depend_on_the_batch_without(make, monkeypatch, name, mask):
    small = make(name)
    waveforms = small.waveforms(16)
    remove(monkeypatch, mask, WITHOUT[mask])
    assert small.difference_in_a_batch(waveforms) > BROKEN
