"""transformers' convolutional adapter (`add_adapter`), which subsamples the frames of an encoder, for padded batches.

Its convolutions read one frame beyond the end. transformers does not mask it; here it is zero, as for batch size 1.
Layerdrop is never applied.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from speechxfer.encoders.base import make_additive_mask, mask_padding


def count_adapted_frames(adapter: Any, frames: Any) -> Any:
    """Return the number of output frames for `frames` (an int, or a tensor of lengths)."""
    for layer in adapter.layers:
        frames = _convolved_length(_get_convolution(layer), frames)
    return frames


def apply_adapter(adapter: Any, states: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the adapter to (batch, frames, dim) and lengths: (batch, fewer frames, output dim) and their lengths."""
    if adapter.proj is not None:
        states = adapter.proj_layer_norm(adapter.proj(states))
    for layer in adapter.layers:
        shorter = _convolved_length(_get_convolution(layer), lengths)
        if hasattr(layer, "self_attn"):
            states = _apply_attention_layer(layer, states, lengths, shorter)
        else:
            states = layer(mask_padding(states, lengths).transpose(1, 2)).transpose(1, 2)
        lengths = shorter
    return states, lengths


def _apply_attention_layer(layer: Any, states: Tensor, lengths: Tensor, shorter: Tensor) -> Tensor:
    """Apply a layer of wav2vec2-bert's adapter: two parallel convolutions, attention over one, the other a residual."""

    def subsample(norm: nn.Module, convolution: nn.Module) -> Tensor:
        masked = mask_padding(norm(states), lengths).transpose(1, 2)  # the norm's bias fills the padding
        return layer.activation(convolution(masked)).transpose(1, 2)

    residual = subsample(layer.residual_layer_norm, layer.residual_conv)
    attended = subsample(layer.self_attn_layer_norm, layer.self_attn_conv)
    mask = make_additive_mask(attended, shorter)
    states = residual + layer.self_attn_dropout(layer.self_attn(attended, attention_mask=mask)[0])
    return states + layer.ffn(layer.ffn_layer_norm(states))


def _get_convolution(layer: Any) -> nn.Conv1d:
    return layer.residual_conv if hasattr(layer, "residual_conv") else layer.conv


def _convolved_length(convolution: nn.Conv1d, frames: Any) -> Any:
    kernel, stride, padding = convolution.kernel_size[0], convolution.stride[0], int(convolution.padding[0])
    return (frames + 2 * padding - kernel) // stride + 1
