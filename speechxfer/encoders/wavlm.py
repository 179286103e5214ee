"""WavLM (Chen et al. 2022, "WavLM: large-scale self-supervised pre-training for full stack speech processing")."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like
from speechxfer.shapes import length_mask


class WavLM(Wav2Vec2Like):
    """As wav2vec2, but for a relative position bias that layer 0 makes and every layer gates.

    Above a split the bias is made anew from layer 0's table, which costs little; carried along, it would cost a cache
    (heads, frames, frames) numbers an utterance.
    """

    family = "wavlm"

    def _through(self, layers: nn.ModuleList, states: Tensor, lengths: Tensor) -> Tensor:
        if not len(layers):
            return states
        batch, frames, _ = states.shape
        first: Any = self.layers[0]
        bias = first.attention.compute_bias(frames, frames)  # (heads, frames, frames)
        bias = bias.expand(batch, -1, -1, -1).reshape(-1, frames, frames)
        padded = bool((lengths != frames).any())
        mask = length_mask(lengths, frames) if padded else None  # its attention takes True for valid
        with warnings.catch_warnings():
            # torch warns that a boolean mask and a bias of numbers differ in type; transformers' WavLM gives it both
            warnings.filterwarnings("ignore", message="Support for mismatched", category=UserWarning)
            for layer in layers:
                states = layer(states, attention_mask=mask, position_bias=bias)[0]
        return states
