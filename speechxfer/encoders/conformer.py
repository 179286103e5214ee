"""wav2vec2-conformer (Gulati et al. 2020, "Conformer: convolution-augmented transformer for speech recognition")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like, apply_batch_norm_in_eval
from speechxfer.encoders.base import make_additive_mask, mask_padding


class Conformer(Wav2Vec2Like):
    """Conformer layers over wav2vec2's features; positions are relative, rotary or none, made anew above a split.

    transformers' convolution module has no mask and reads 15 frames of padding; here a layer is run part by part, with
    zeros beyond the end before that convolution and its batch norm by running statistics.
    """

    family = "wav2vec2-conformer"

    @property
    def is_norm_first(self) -> bool:
        return True  # the encoder's norm is its last step

    def _positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        return self.module.encoder.dropout(states)  # `pos_conv_embed` is in the checkpoint, and never used

    def _through(self, layers: nn.ModuleList, states: Tensor, lengths: Tensor) -> Tensor:
        mask = make_additive_mask(lengths, states.shape[1], states.dtype)
        places = make_relative_positions(self.module.encoder, states)
        layer: Any
        for layer in layers:
            if layer.gradient_checkpointing and layer.training and torch.is_grad_enabled():
                states = layer._gradient_checkpointing_func(_apply_layer, layer, states, lengths, mask, places)
            else:
                states = _apply_layer(layer, states, lengths, mask, places)
        return states


def make_relative_positions(encoder: Any, states: Tensor) -> Tensor | None:
    """The encoder's relative or rotary embeddings for as many frames as `states` has; None where it has none.

    Cast, as transformers keeps the last ones made by their length alone, not by their device or precision.
    """
    if encoder.embed_positions is None:
        return None
    return encoder.embed_positions(states).to(states.device, states.dtype)


def _apply_layer(layer: Any, states: Tensor, lengths: Tensor, mask: Tensor | None, places: Tensor | None) -> Tensor:
    """Half a feed-forward, attention, convolution, half a feed-forward: (batch, frames, dim) to the same."""
    states = states + 0.5 * layer.ffn1(layer.ffn1_layer_norm(states))
    attended = layer.self_attn(
        layer.self_attn_layer_norm(states), attention_mask=mask, relative_position_embeddings=places
    )[0]
    states = states + layer.self_attn_dropout(attended)
    states = states + _convolve(layer.conv_module, states, lengths)
    states = states + 0.5 * layer.ffn2(layer.ffn2_layer_norm(states))
    return layer.final_layer_norm(states)


def _convolve(part: Any, states: Tensor, lengths: Tensor) -> Tensor:
    states = part.glu(part.pointwise_conv1(part.layer_norm(states).transpose(1, 2)))  # (batch, dim, frames)
    states = part.depthwise_conv(mask_padding(states.transpose(1, 2), lengths).transpose(1, 2))
    states = part.activation(apply_batch_norm_in_eval(part.batch_norm, states))
    return part.dropout(part.pointwise_conv2(states)).transpose(1, 2)
