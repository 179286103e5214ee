"""WavLM (Chen et al. 2022, "WavLM: large-scale self-supervised pre-training for full stack speech processing")."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like
from speechxfer.shapes import length_mask


class WavLM(Wav2Vec2Like):
    """wav2vec2 with a relative position bias that layer 0 computes and every layer gates.

    Above a split the bias is recomputed from layer 0's table, which is cheap; a cached one would take
    (heads, frames, frames) numbers per utterance.
    """

    family = "wavlm"

    def _run_layers(self, layers: nn.ModuleList, states: Tensor, lengths: Tensor) -> Tensor:
        if not len(layers):
            return states
        batch, frames, _ = states.shape
        first: Any = self.layers[0]
        bias = first.attention.compute_bias(frames, frames)  # (heads, frames, frames)
        bias = bias.expand(batch, -1, -1, -1).reshape(-1, frames, frames)
        padded = bool((lengths != frames).any())
        mask = length_mask(lengths, frames, states.device) if padded else None  # in WavLM's attention, True is valid
        with warnings.catch_warnings():
            # torch warns of the different types of the boolean mask and the float bias in transformers' WavLM
            warnings.filterwarnings("ignore", message="Support for mismatched", category=UserWarning)
            for layer in layers:
                states = layer(states, attention_mask=mask, position_bias=bias)[0]
        return states
