"""data2vec-audio (Baevski et al. 2022, "data2vec: a general framework for self-supervised learning")."""

from __future__ import annotations

from torch import Tensor

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like
from speechxfer.encoders.base import mask_padding


class Data2VecAudio(Wav2Vec2Like):
    """wav2vec2 with positions from a stack of convolutions; the padding is set to zero before each of them."""

    family = "data2vec-audio"

    def _add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        encoder, positions = self.module.encoder, states
        for layer in encoder.pos_conv_embed.layers:
            positions = layer(mask_padding(positions, lengths).transpose(1, 2)).transpose(1, 2)
        return encoder.dropout(encoder.layer_norm(states + positions))
