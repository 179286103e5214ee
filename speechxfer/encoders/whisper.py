"""Whisper's encoder without padding to 30 s (Radford et al. 2022, arXiv 2212.04356).

The frames of an utterance depend on its own samples only: log-mel is computed before padding, and in a batch the
padding is set to zero between the two convolutions and masked in attention. `pad_to_30s` restores the original padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechxfer.encoders.base import FEATURE_OUTPUT, SpeechEncoder, make_additive_mask, mask_padding, pad_together
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE, Frames, Hidden, Inputs, length_mask

MULTILINGUAL_VOCABULARY_SIZE = 51_865  # tokens, at least; English-only models have 51,864 (openai/whisper, model.py)
MIN_SAMPLES = 1_600  # 0.1 s; shorter clips are padded with silence, as the reflection padding of the STFT needs 200


class WhisperEncoderWrapper(SpeechEncoder):
    """Log-mel (batch, mels, time) at 100 Hz to frames (batch, frames, dim) at 50 Hz.

    pad_to_30s: pad every waveform with silence to 30 s and attend to all of it, as the original and transformers do.
    """

    family = "whisper"

    def __init__(self, module: WhisperEncoder, extractor: WhisperFeatureExtractor, *, pad_to_30s: bool = False) -> None:
        super().__init__(module)
        self.extractor = extractor
        self.pad_to_30s = pad_to_30s
        self._filters = torch.from_numpy(np.asarray(extractor.mel_filters.T, dtype=np.float32))  # (mels, bins)
        self._window = torch.hann_window(extractor.n_fft)

    @property
    def dim(self) -> int:
        return int(self.module.config.d_model)

    @property
    def layers(self) -> nn.ModuleList:
        return self.module.layers

    @property
    def feature_extractor(self) -> list[nn.Module]:
        return [self.module.conv1, self.module.conv2]

    def get_embedding_modules(self) -> list[nn.Module]:
        return []  # the positions are fixed sinusoids

    def get_output_modules(self) -> list[nn.Module]:
        return [self.module.layer_norm]

    @property
    def max_samples(self) -> int:
        """Number of samples that the position table covers: 30 s."""
        return int(self.module.config.max_source_positions) * 2 * self.extractor.hop_length

    def count_frames(self, samples: int) -> int:
        if self.pad_to_30s:
            return int(self.module.config.max_source_positions)
        return (max(samples, MIN_SAMPLES) // self.extractor.hop_length + 1) // 2

    @property
    def frame_seconds(self) -> float:
        return 2 * self.extractor.hop_length / SAMPLE_RATE  # also with padding to 30 s

    def _prepare(self, waveforms: Sequence[np.ndarray]) -> Inputs:
        return pad_together([self.compute_log_mel(waveform) for waveform in waveforms])

    def compute_log_mel(self, waveform: np.ndarray) -> Tensor:
        """Compute log-mel (mels, steps) of (time,) samples like transformers' extractor, on this utterance alone.

        Raises: UserError for more than 30 s, the maximum of Whisper's positions.
        """
        samples = len(waveform)
        if samples > self.max_samples:
            raise UserError(
                f"{samples / SAMPLE_RATE:.1f} s of audio in one utterance; Whisper's encoder takes at most 30 s",
                fix="cut it (columns 'start' and 'end'), or use `speechxfer transcribe`, which cuts it at pauses",
            )
        signal = torch.as_tensor(np.ascontiguousarray(waveform), dtype=torch.float32)
        wanted = self.max_samples if self.pad_to_30s else MIN_SAMPLES
        if samples < wanted:
            signal = F.pad(signal, (0, wanted - samples))
        n_fft, hop = self.extractor.n_fft, self.extractor.hop_length
        spectrum = torch.stft(signal, n_fft, hop, window=self._window, return_complex=True)
        power = spectrum[:, :-1].abs().square()
        logarithm = (self._filters @ power.contiguous()).clamp(min=1e-10).log10()
        return (torch.maximum(logarithm, logarithm.max() - 8.0) + 4.0) / 4.0

    def forward_to(self, inputs: Inputs, layer: int) -> Hidden:
        lengths = inputs.lengths
        states = F.gelu(self.module.conv1(inputs.features))  # (batch, dim, steps)
        if bool((lengths != states.shape[-1]).any()):
            # the second convolution must read zeros beyond the end, as for a single utterance
            states = states * length_mask(lengths, states.shape[-1], states.device)[:, None, :].to(states.dtype)
        states = F.gelu(self.module.conv2(states)).transpose(1, 2)  # (batch, frames, dim)
        lengths = (lengths + 1) // 2
        hidden = Hidden(mask_padding(states, lengths), lengths, FEATURE_OUTPUT)
        return hidden if layer == FEATURE_OUTPUT else self._run_to(hidden, layer)

    def forward_from(self, hidden: Hidden) -> Frames:
        hidden = self._run_to(hidden, self.depth)
        return Frames(mask_padding(self.module.layer_norm(hidden.states), hidden.lengths), hidden.lengths)

    def _run_to(self, hidden: Hidden, until: int) -> Hidden:
        """Compute the input of layer `until`: add positions (from `FEATURE_OUTPUT`) and apply the layers below it."""
        states, start = hidden.states, hidden.layer
        if start == FEATURE_OUTPUT:
            states = states + self.module.embed_positions.weight[: states.shape[1]]
            states = F.dropout(states, p=self.module.dropout, training=self.module.training)
            start = 0
        mask = make_additive_mask(states, hidden.lengths)
        for layer in self.layers[start:until]:
            states = layer(states, mask)
        return Hidden(states, hidden.lengths, until)
