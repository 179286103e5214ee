"""Whisper's decoder as a head: teacher-forced loss and log-probabilities, with masked cross-attention."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperForConditionalGeneration

from speechxfer.encoders.base import make_additive_mask
from speechxfer.shapes import IGNORE_INDEX, Frames

# of the frames that this thread's call of the decoder attends to; each thread has its own
_cross_attention_mask: ContextVar[Tensor | None] = ContextVar("cross_attention_mask", default=None)
_installing = threading.Lock()


@contextmanager
def mask_cross_attention(frames: Frames, decoder: Any) -> Iterator[None]:
    """Context manager that masks padded frames in the decoder's cross-attention, in this thread.

    transformers passes `encoder_attention_mask=None` to every decoder layer, so padding would be attended to. Hooks add
    the mask to each call of a layer, repeated for the beams of a beam search.
    """
    _install_mask_hooks(decoder)
    mask = make_additive_mask(frames.states, frames.lengths)
    token = _cross_attention_mask.set(mask)
    try:
        yield
    finally:
        _cross_attention_mask.reset(token)


def _install_mask_hooks(decoder: Any) -> None:
    """Register the hooks once, and never remove them: another thread may be running the decoder."""
    with _installing:
        for layer in decoder.layers:
            if _add_mask not in layer._forward_pre_hooks.values():
                layer.register_forward_pre_hook(_add_mask, with_kwargs=True)


def _add_mask(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    mask = _cross_attention_mask.get()
    if mask is None:
        return None
    rows = args[0].shape[0]
    repeated = mask if rows == mask.shape[0] else mask.repeat_interleave(rows // mask.shape[0], dim=0)
    return args, {**kwargs, "encoder_attention_mask": repeated}


def compute_decoder_loss(
    network: WhisperForConditionalGeneration, frames: Frames, labels: Tensor, prompt: list[int]
) -> Tensor:
    """Compute the cross-entropy summed over the target tokens, teacher-forced after the prompt.

    Args:
        frames: the encoder's output, (batch, frames, dim) with lengths.
        labels: (batch, targets) int64, padded with -100; the last target that is not padding is the end token.
        prompt: ids of the start, language, task and no-timestamps tokens, which are not targets. Rows that start with a
            timestamp are computed without the no-timestamps token, rows that start with the token of a language in
            that language.
    """
    prompts, labels = split_language(prompt, labels)
    logits = _target_logits(network, frames, labels, prompts)
    return F.cross_entropy(logits, labels[labels != IGNORE_INDEX], reduction="sum")


@torch.no_grad()
def compute_decoder_log_probs(
    network: WhisperForConditionalGeneration, frames: Frames, labels: Tensor, prompt: list[int]
) -> Tensor:
    """Compute the (batch,) log-probability of each row of labels (see `compute_decoder_loss`)."""
    prompts, labels = split_language(prompt, labels)
    valid = labels != IGNORE_INDEX
    log_probs = _target_logits(network, frames, labels, prompts).log_softmax(-1)
    token_log_probs = torch.zeros(labels.shape, device=labels.device)
    token_log_probs[valid] = log_probs.gather(1, labels[valid][:, None])[:, 0]
    return token_log_probs.sum(1)


def find_language_tokens(prompt: list[int]) -> tuple[int, int]:
    """Return two tokens between whose numbers a multilingual Whisper has those of the languages."""
    return (prompt[0], prompt[2]) if len(prompt) > 2 else (0, 0)


def split_language(prompt: list[int], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Move the language of each row that starts with a language's token from the labels to the prompt.

    Args:
        prompt: ids of the start, language, task and no-timestamps tokens.
        labels: (batch, targets) int64, padded with -100.

    Returns:
        (batch, tokens) prompts, and the (batch, targets) labels without language tokens.
    """
    prompts = torch.tensor(prompt, device=labels.device).repeat(labels.shape[0], 1)
    first, last = find_language_tokens(prompt)
    if first == last:  # English only
        return prompts, labels
    marked = (labels[:, 0] > first) & (labels[:, 0] < last)
    prompts[:, 1] = torch.where(marked, labels[:, 0], prompts[:, 1])
    padding = torch.full_like(labels[:, :1], IGNORE_INDEX)
    shifted = torch.cat([labels[:, 1:], padding], dim=1)
    return prompts, torch.where(marked[:, None], shifted, labels)


def _target_logits(network: WhisperForConditionalGeneration, frames: Frames, labels: Tensor, start: Tensor) -> Tensor:
    """Compute logits (targets, tokens) at the target positions, of all utterances one after another.

    start: (batch, tokens), the prompts. Rows whose first target is a timestamp have no no-timestamps token in theirs.
    """
    targets = labels.clamp(min=0)  # padding is token 0, which no target attends to
    with_times = labels[:, 0] > start[:, -1]  # timestamps have the numbers after the no-timestamps token
    tokens = torch.where(
        with_times[:, None], torch.cat([start[:, :-1], targets], dim=1), torch.cat([start, targets[:, :-1]], dim=1)
    )
    with mask_cross_attention(frames, network.model.decoder):
        states = network.model.decoder(
            input_ids=tokens, encoder_hidden_states=frames.states, use_cache=False
        ).last_hidden_state
    first = start.shape[1] - 1  # of the states (batch, targets, dim) that each predict the next token
    predicting = torch.where(with_times[:, None, None], states[:, first - 1 : -1], states[:, first:])
    return network.proj_out(predicting[labels != IGNORE_INDEX]).float()  # the output layer is large: targets only
