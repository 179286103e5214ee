"""HuBERT (Hsu et al. 2021, "HuBERT: self-supervised speech representation learning by masked prediction")."""

from __future__ import annotations

from torch import Tensor

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like, apply_batch_norm_in_eval
from speechxfer.encoders.base import mask_padding


class Hubert(Wav2Vec2Like):
    """As wav2vec2, but for a batch norm before some checkpoints' positional convolution (`conv_pos_batch_norm`)."""

    family = "hubert"

    def _project(self, states: Tensor) -> Tensor:
        return self.module.feature_projection(states)

    def _positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        encoder, positions = self.module.encoder, self.module.encoder.pos_conv_embed
        if positions.batch_norm is None:
            return super()._positions(states, lengths)
        shifted = apply_batch_norm_in_eval(positions.batch_norm, states.transpose(1, 2)).transpose(1, 2)
        shifted = mask_padding(shifted, lengths).transpose(1, 2)  # the norm's shift filled the padding again
        states = states + positions.activation(positions.padding(positions.conv(shifted))).transpose(1, 2)
        return encoder.dropout(states if self.is_norm_first else encoder.layer_norm(states))
