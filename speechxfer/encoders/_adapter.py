"""transformers' convolutional adapter (`add_adapter`), which shortens the frames above an encoder, for padded batches.

Its convolutions read a frame beyond the end, which transformers leaves as it is; here it is zero, as at batch 1. Its
layerdrop is never applied.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from speechxfer.encoders.base import make_additive_mask, mask_padding


def count_adapted_frames(adapter: Any, frames: Any) -> Any:
    """How many frames (an int, or a tensor of lengths) the adapter leaves of `encode_frames`."""
    for layer in adapter.layers:
        frames = _convolved_length(_convolution(layer), frames)
    return frames


def apply_adapter(adapter: Any, states: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, frames, dim) and lengths to (batch, fewer frames, output dim) and theirs."""
    if adapter.proj is not None:
        states = adapter.proj_layer_norm(adapter.proj(states))
    for layer in adapter.layers:
        shorter = _convolved_length(_convolution(layer), lengths)
        if hasattr(layer, "self_attn"):
            states = _apply_attention_layer(layer, states, lengths, shorter)
        else:
            states = layer(mask_padding(states, lengths).transpose(1, 2)).transpose(1, 2)
        lengths = shorter
    return states, lengths


def _apply_attention_layer(layer: Any, states: Tensor, lengths: Tensor, shorter: Tensor) -> Tensor:
    """wav2vec2-bert's kind: two convolutions side by side, attention over the one and the other as its residual."""

    def shortened(norm: nn.Module, convolution: nn.Module) -> Tensor:
        kept = mask_padding(norm(states), lengths).transpose(1, 2)  # the norm's bias fills the padding
        return layer.activation(convolution(kept)).transpose(1, 2)

    residual = shortened(layer.residual_layer_norm, layer.residual_conv)
    attending = shortened(layer.self_attn_layer_norm, layer.self_attn_conv)
    mask = make_additive_mask(shorter, attending.shape[1], attending.dtype)
    states = residual + layer.self_attn_dropout(layer.self_attn(attending, attention_mask=mask)[0])
    return states + layer.ffn(layer.ffn_layer_norm(states))


def _convolution(layer: Any) -> nn.Conv1d:
    return layer.residual_conv if hasattr(layer, "residual_conv") else layer.conv


def _convolved_length(convolution: nn.Conv1d, frames: Any) -> Any:
    kernel, stride, padding = convolution.kernel_size[0], convolution.stride[0], int(convolution.padding[0])
    return (frames + 2 * padding - kernel) // stride + 1
