"""Whisper's own decoder: frames to text, greedy or by beam, for batches of unpadded utterances."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, WhisperForConditionalGeneration
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from speechxfer.encoders.base import additive_mask
from speechxfer.shapes import Frames

# Words come at up to about 5 a second; a decoder that goes on much longer than that is repeating itself.
TOKENS_PER_SECOND = 12
LEAST_TOKENS = 24


@contextmanager
def attending_only_to(frames: Frames, decoder: nn.Module) -> Iterator[None]:
    """While open, the decoder's cross-attention sees each utterance's own frames only.

    transformers gives every decoder layer `encoder_attention_mask=None`, so padded frames would be attended to; the
    mask is put in on the way to each layer, repeated where beam search repeats the batch.
    """
    mask = additive_mask(frames.lengths, frames.states.shape[1], frames.states.dtype)
    if mask is None:
        yield
        return

    def put_in(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        rows = args[0].shape[0]
        fitted = mask if rows == mask.shape[0] else mask.repeat_interleave(rows // mask.shape[0], dim=0)
        return args, {**kwargs, "encoder_attention_mask": fitted}

    handles = [layer.register_forward_pre_hook(put_in, with_kwargs=True) for layer in decoder.layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def decode(
    network: WhisperForConditionalGeneration, frames: Frames, prompt: list[int], *, beams: int = 1
) -> list[list[int]]:
    """Token ids of each utterance, after the prompt and without special tokens' meaning removed.

    frames: (batch, frames, dim). prompt: start, language, task and no-timestamps tokens. beams: 1 is greedy.
    The suppressed tokens are those of the model's generation config, as its authors decode.
    """
    stated = network.generation_config
    room = network.config.max_target_positions - len(prompt)
    longest = int(frames.lengths.max()) / 50
    settings = GenerationConfig(
        num_beams=beams,
        do_sample=False,
        max_new_tokens=min(room, LEAST_TOKENS + int(TOKENS_PER_SECOND * longest)),
        suppress_tokens=stated.suppress_tokens,
        begin_suppress_tokens=stated.begin_suppress_tokens,
        eos_token_id=stated.eos_token_id,
        pad_token_id=stated.pad_token_id,
        bos_token_id=stated.bos_token_id,
        decoder_start_token_id=stated.decoder_start_token_id,
    )
    with attending_only_to(frames, network.model.decoder):
        # GenerationMixin's, not Whisper's own generate, which insists on 30 s windows
        sequences: Tensor = GenerationMixin.generate(
            network,
            encoder_outputs=BaseModelOutput(last_hidden_state=frames.states),
            decoder_input_ids=torch.tensor([prompt] * len(frames.lengths), device=frames.states.device),
            generation_config=settings,
        )
    return [row[len(prompt) :].tolist() for row in sequences]
