"""wav2vec2-conformer (Gulati et al. 2020, "Conformer: convolution-augmented transformer for speech recognition")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like, apply_batch_norm_in_eval
from speechxfer.encoders.base import make_additive_mask, mask_padding


class Conformer(Wav2Vec2Like):
    """Conformer layers on wav2vec2's features; relative, rotary or no positions, which are recomputed above a split.

    transformers' convolution module is unmasked and reads 15 frames of padding. Here the modules of a layer are called
    one by one: the padding is zero before that convolution, and its batch norm uses running statistics.
    """

    family = "wav2vec2-conformer"

    @property
    def is_norm_first(self) -> bool:
        return True  # the encoder's norm comes last

    def _add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        return self.module.encoder.dropout(states)  # `pos_conv_embed` is in the checkpoint, but unused

    def _run_layers(self, layers: nn.ModuleList, states: Tensor, lengths: Tensor) -> Tensor:
        mask = make_additive_mask(states, lengths)
        positions = make_relative_positions(self.module.encoder, states)
        layer: Any
        for layer in layers:
            if layer.gradient_checkpointing and layer.training and torch.is_grad_enabled():
                states = layer._gradient_checkpointing_func(_apply_layer, layer, states, lengths, mask, positions)
            else:
                states = _apply_layer(layer, states, lengths, mask, positions)
        return states


def make_relative_positions(encoder: Any, states: Tensor) -> Tensor | None:
    """Return the encoder's relative or rotary embeddings for the frames of `states`; None if it has none.

    The result is cast, because transformers caches it by length only, regardless of device and dtype.
    """
    if encoder.embed_positions is None:
        return None
    return encoder.embed_positions(states).to(states.device, states.dtype)


def _apply_layer(layer: Any, states: Tensor, lengths: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
    """Apply half a feed-forward, attention, convolution, half a feed-forward to (batch, frames, dim)."""
    states = states + 0.5 * layer.ffn1(layer.ffn1_layer_norm(states))
    attended = layer.self_attn(
        layer.self_attn_layer_norm(states), attention_mask=mask, relative_position_embeddings=positions
    )[0]
    states = states + layer.self_attn_dropout(attended)
    states = states + _convolve(layer.conv_module, states, lengths)
    states = states + 0.5 * layer.ffn2(layer.ffn2_layer_norm(states))
    return layer.final_layer_norm(states)


def _convolve(module: Any, states: Tensor, lengths: Tensor) -> Tensor:
    states = module.glu(module.pointwise_conv1(module.layer_norm(states).transpose(1, 2)))  # (batch, dim, frames)
    states = module.depthwise_conv(mask_padding(states.transpose(1, 2), lengths).transpose(1, 2))
    states = module.activation(apply_batch_norm_in_eval(module.batch_norm, states))
    return module.dropout(module.pointwise_conv2(states)).transpose(1, 2)
