"""The decoder's loss against transformers' own, and its independence of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from speechxfer.heads.whisper_decoder import compute_decoder_loss, mask_cross_attention
from speechxfer.models import load
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.shapes import Frames

TEXTS = ("one", "two one six", "six six")


@pytest.fixture
def model(tiny_whisper) -> Iterator[WhisperRecogniser]:
    """On each utterance's own length."""
    opened = load(tiny_whisper, device="cpu")
    with opened.use_padding(False):
        yield opened


@pytest.fixture
def waveforms(make_speech):
    return [make_speech("one", 0, 0.6), make_speech("two", 1, 1.9), make_speech("six", 2, 1.1)]


def padded(*targets: list[int]) -> torch.Tensor:
    labels = torch.full((len(targets), max(map(len, targets))), -100)
    for row, target in zip(labels, targets, strict=True):
        row[: len(target)] = torch.tensor(target)
    return labels


def frames_of(model: WhisperRecogniser, waveforms: list) -> Frames:
    return model.encoder(model.encoder.prepare(waveforms))


@pytest.mark.parametrize("text", TEXTS)
def test_padded_to_the_full_length_it_is_transformers_own(model, tiny_whisper, waveforms, text):
    network = WhisperForConditionalGeneration.from_pretrained(tiny_whisper)
    processor = WhisperProcessor.from_pretrained(tiny_whisper)
    features = processor(waveforms[1], sampling_rate=16_000, return_tensors="pt").input_features
    whole = processor.tokenizer(f" {text}").input_ids  # start, no timestamps, text, end
    start = processor.tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>"])
    assert whole[:2] == start and whole[-1] == processor.tokenizer.eos_token_id
    labels = torch.tensor([[-100, *whole[2:]]])  # the prompt is given, not taught
    with torch.no_grad():
        truth = network(features, decoder_input_ids=torch.tensor([whole[:-1]]), labels=labels).loss
    with torch.no_grad(), model.use_padding():
        found = model.compute_loss(frames_of(model, [waveforms[1]]), padded(model.encode_target(text)))
    assert float(found) / len(whole[2:]) == pytest.approx(float(truth), abs=1e-4)


@pytest.mark.parametrize("pad_to_30s", [False, True])
def test_a_batch_of_different_lengths_is_the_sum_of_its_utterances(model, waveforms, pad_to_30s):
    targets = [model.encode_target(text) for text in TEXTS]
    with torch.no_grad(), model.use_padding(pad_to_30s):
        alone = sum(
            float(model.compute_loss(frames_of(model, [w]), padded(t))) for w, t in zip(waveforms, targets, strict=True)
        )
        together = float(model.compute_loss(frames_of(model, waveforms), padded(*targets)))
    assert together == pytest.approx(alone, abs=1e-3)


def test_without_its_mask_the_batch_would_matter(model, waveforms):
    """The test above sees something: padding is not nothing to a decoder that attends to it."""
    targets = padded(*[model.encode_target(text) for text in TEXTS])
    with torch.no_grad():
        frames = frames_of(model, waveforms)
        masked = compute_decoder_loss(model.network, frames, targets, model.prompt)
        everything = Frames(frames.states, torch.full_like(frames.lengths, frames.states.shape[1]))
        unmasked = compute_decoder_loss(model.network, everything, targets, model.prompt)
    assert abs(float(masked) - float(unmasked)) > 0.01


def test_gradients_reach_each_utterances_own_frames_only(model, waveforms):
    frames = frames_of(model, waveforms)
    states = frames.states.detach().requires_grad_()
    model.compute_loss(
        Frames(states, frames.lengths), padded(*[model.encode_target(text) for text in TEXTS])
    ).backward()
    assert states.grad is not None
    for row, length in zip(states.grad, frames.lengths.tolist(), strict=True):
        assert row[:length].abs().min(0).values.max() > 0
        assert row[length:].abs().sum() == 0


def test_the_decoder_is_as_it_was_afterwards(model):
    decoder = model.network.model.decoder.eval()
    torch.manual_seed(0)
    frames = Frames(torch.randn(2, 5, 32), torch.tensor([5, 3]))

    def run() -> torch.Tensor:
        tokens = torch.tensor([[1, 2], [1, 2]])
        return decoder(input_ids=tokens, encoder_hidden_states=frames.states, use_cache=False).last_hidden_state

    before = run()
    with pytest.raises(RuntimeError), mask_cross_attention(frames, decoder):
        assert not run().equal(before)
        raise RuntimeError
    assert run().equal(before)


def test_each_thread_has_its_own_mask(model):
    """Masks of other shapes and lengths at the same time, on the same decoder."""
    decoder = model.network.model.decoder.eval()
    torch.manual_seed(0)
    batches = [Frames(torch.randn(rows, 7, 32), torch.tensor([7, *range(3, 2 + rows)])) for rows in (2, 3, 4)] + [
        Frames(torch.randn(2, 7, 32), torch.tensor([7, 7]))
    ]

    @torch.no_grad()
    def run(frames: Frames) -> torch.Tensor:
        tokens = torch.ones(len(frames.lengths), 2, dtype=torch.int64)
        with mask_cross_attention(frames, decoder):
            return decoder(input_ids=tokens, encoder_hidden_states=frames.states, use_cache=False).last_hidden_state

    alone = [run(frames) for frames in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, batches * 25))
    assert all(found.equal(alone[number % 4]) for number, found in enumerate(together))
