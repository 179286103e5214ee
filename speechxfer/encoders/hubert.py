"""HuBERT (Hsu et al. 2021, "HuBERT: self-supervised speech representation learning by masked prediction")."""

from __future__ import annotations

from torch import Tensor

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like, apply_batch_norm_in_eval
from speechxfer.encoders.base import mask_padding


class Hubert(Wav2Vec2Like):
    """wav2vec2 with a batch norm before the positional convolution of some checkpoints (`conv_pos_batch_norm`)."""

    family = "hubert"

    def _project(self, states: Tensor) -> Tensor:
        return self.module.feature_projection(states)

    def _add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        encoder, positions = self.module.encoder, self.module.encoder.pos_conv_embed
        if positions.batch_norm is None:
            return super()._add_positions(states, lengths)
        normed = apply_batch_norm_in_eval(positions.batch_norm, states.transpose(1, 2)).transpose(1, 2)
        normed = mask_padding(normed, lengths).transpose(1, 2)  # the norm's bias fills the padding
        states = states + positions.activation(positions.padding(positions.conv(normed))).transpose(1, 2)
        return encoder.dropout(states if self.is_norm_first else encoder.layer_norm(states))
