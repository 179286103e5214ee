"""wav2vec2-bert (Seamless Communication 2023, "Seamless: multilingual expressive and streaming speech translation")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like
from speechxfer.encoders.base import make_additive_mask, pad_together
from speechxfer.encoders.conformer import make_relative_positions
from speechxfer.shapes import SAMPLE_RATE, Inputs, length_mask

_WINDOW, _HOP = 400, 160  # samples (25 ms, 10 ms): Kaldi's filter bank, fixed in SeamlessM4TFeatureExtractor


class Wav2Vec2Bert(Wav2Vec2Like):
    """Conformer layers on log-mel (batch, mels, time).

    There is no convolutional feature extractor: `FEATURE_OUTPUT` is the log-mel, two steps of 10 ms stacked per frame.
    The convolutions of its layers are causal, and transformers masks them.
    """

    family = "wav2vec2-bert"

    @property
    def feature_extractor(self) -> list[nn.Module]:
        return []

    def get_embedding_modules(self) -> list[nn.Module]:
        return [self.module.feature_projection]

    @property
    def min_samples(self) -> int:
        return _WINDOW + (self.extractor.stride - 1) * _HOP

    def get_output_modules(self) -> list[nn.Module]:
        expand = self.module.intermediate_ffn
        return super().get_output_modules() if expand is None else [expand, *super().get_output_modules()]

    def _count_feature_frames(self, samples: int) -> int:
        return ((samples - _WINDOW) // _HOP + 1) // self.extractor.stride

    def _prepare(self, waveforms: Sequence[np.ndarray]) -> Inputs:
        """Compute log-mel normalised over the utterance's own steps; an incomplete last frame is dropped."""
        return pad_together([self._log_mel(waveform) for waveform in waveforms])

    def _log_mel(self, waveform: np.ndarray) -> Tensor:
        """Convert (time,) samples to (mels * stride, frames)."""
        signal = np.ascontiguousarray(waveform, dtype=np.float32)
        if len(signal) < self.min_samples:
            signal = np.pad(signal, (0, self.min_samples - len(signal)))
        features = self.extractor(signal, sampling_rate=SAMPLE_RATE, pad_to_multiple_of=None, return_tensors="np")
        return torch.from_numpy(np.ascontiguousarray(features.input_features[0].T, dtype=np.float32))

    def _extract_features(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        return inputs.features.transpose(1, 2), inputs.lengths

    def _add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        return self.module.encoder.dropout(states)

    def _run_layers(self, layers: nn.ModuleList, states: Tensor, lengths: Tensor) -> Tensor:
        mask = make_additive_mask(states, lengths)
        valid = None if mask is None else length_mask(lengths, states.shape[1], states.device)
        positions = make_relative_positions(self.module.encoder, states)
        for layer in layers:
            states = layer(
                states, attention_mask=mask, relative_position_embeddings=positions, conv_attention_mask=valid
            )
        return states

    def _apply_final_norm(self, states: Tensor) -> Tensor:
        expand = self.module.intermediate_ffn  # in some checkpoints with an adapter
        return states if expand is None else states + 0.5 * expand(states)
