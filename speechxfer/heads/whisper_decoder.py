"""Whisper's own decoder as a head: frames and target tokens to a loss, each utterance attending to its own frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperForConditionalGeneration

from speechxfer.encoders.base import make_additive_mask
from speechxfer.shapes import IGNORE_INDEX, Frames


@contextmanager
def mask_cross_attention(frames: Frames, decoder: Any) -> Iterator[None]:
    """While open, the decoder's cross-attention sees each utterance's own frames only.

    transformers gives every decoder layer `encoder_attention_mask=None`, so padded frames would be attended to; the
    mask is put in on the way to each layer, repeated where beam search repeats the batch.
    """
    mask = make_additive_mask(frames.lengths, frames.states.shape[1], frames.states.dtype)
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


def compute_decoder_loss(
    network: WhisperForConditionalGeneration, frames: Frames, labels: Tensor, prompt: list[int]
) -> Tensor:
    """Cross-entropy summed over the target tokens, teacher-forced after the prompt.

    frames: (batch, frames, dim). labels: (batch, targets) int64, -100 where padded; the last target is the end token.
    prompt: start, language, task and no-timestamps tokens, which the decoder is given and not taught.
    """
    logits = _target_logits(network, frames, labels, prompt)
    return F.cross_entropy(logits, labels[labels != IGNORE_INDEX], reduction="sum")


@torch.no_grad()
def compute_decoder_log_probs(
    network: WhisperForConditionalGeneration, frames: Frames, labels: Tensor, prompt: list[int]
) -> Tensor:
    """(batch,) log-probability of each row of labels, which are as `compute_decoder_loss` takes them."""
    kept = labels != IGNORE_INDEX
    log_probs = _target_logits(network, frames, labels, prompt).log_softmax(-1)
    found = torch.zeros(labels.shape, device=labels.device)
    found[kept] = log_probs.gather(1, labels[kept][:, None])[:, 0]
    return found.sum(1)


def _target_logits(
    network: WhisperForConditionalGeneration, frames: Frames, labels: Tensor, prompt: list[int]
) -> Tensor:
    """(targets, tokens) logits of the places that are taught, all utterances' one after another."""
    batch = labels.shape[0]
    start = torch.tensor(prompt, device=labels.device).expand(batch, -1)
    given = torch.cat([start, labels[:, :-1].clamp(min=0)], dim=1)  # padded places hold token 0, which nothing sees
    with mask_cross_attention(frames, network.model.decoder):
        states = network.model.decoder(
            input_ids=given, encoder_hidden_states=frames.states, use_cache=False
        ).last_hidden_state
    taught = states[:, len(prompt) - 1 :]  # (batch, targets, dim): each state says the token after it
    return network.proj_out(taught[labels != IGNORE_INDEX]).float()  # only these go through the large output layer
