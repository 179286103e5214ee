"""Base class of the wav2vec2 families: waveform, convolutions, projection, positions, transformer layers.

Baevski et al. 2020, "wav2vec 2.0: a framework for self-supervised learning of speech representations".

transformers' modules are called one by one, so that padding can be masked between them. The `forward` of transformers'
model is never called: in train mode it masks at random and raises for clips under ten frames. SpecAugment is applied
at the split instead; layerdrop is never applied, as a layer that is dropped below a cached split would invalidate the
cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechxfer.encoders._adapter import apply_adapter, count_adapted_frames
from speechxfer.encoders.base import FEATURE_OUTPUT, SpeechEncoder, make_additive_mask, mask_padding, pad_together
from speechxfer.errors import UserError
from speechxfer.shapes import SAMPLE_RATE, Frames, Hidden, Inputs

_ATTENTION = ("eager", "sdpa")  # these accept additive masks; flash and flex kernels need other masks


class Wav2Vec2Like(SpeechEncoder):
    """Waveforms (batch, time) to frames (batch, frames, dim), at 50 Hz with the published strides.

    Families override `is_norm_first`, `_project`, `_add_positions`, `_run_layers`. A checkpoint's convolutional adapter
    (`add_adapter`) is applied after the last layer: it subsamples the frames, and `dim` is the width of its output.
    Raises: UserError for a flash attention kernel, and for another sampling rate than 16 kHz.
    """

    module: Any  # transformers' bare model

    def __init__(self, module: nn.Module, extractor: Any) -> None:
        super().__init__(module)
        self.extractor = extractor
        _check_supported(self.module, extractor)

    @property
    def dim(self) -> int:
        config = self.module.config
        return int(config.hidden_size if self.adapter is None else config.output_hidden_size)

    @property
    def adapter(self) -> Any:
        """The convolutional adapter (not MMS's language adapters, which are within the layers), or None."""
        return getattr(self.module, "adapter", None)

    @property
    def layers(self) -> nn.ModuleList:
        return self.module.encoder.layers

    @property
    def feature_extractor(self) -> list[nn.Module]:
        return [self.module.feature_extractor]

    def get_embedding_modules(self) -> list[nn.Module]:
        below = [self.module.feature_projection, self.module.encoder.pos_conv_embed]
        return below if self.is_norm_first else [*below, self.module.encoder.layer_norm]

    def get_language_adapters(self) -> list[nn.Module]:
        adapters = (getattr(layer, "adapter_layer", None) for layer in self.layers)
        return [adapter for adapter in adapters if adapter is not None]

    def get_output_modules(self) -> list[nn.Module]:
        norm = [self.module.encoder.layer_norm] if self.is_norm_first else []
        return norm if self.adapter is None else [*norm, self.adapter]

    @property
    def is_norm_first(self) -> bool:
        """Whether the encoder's norm is applied after the layers (`do_stable_layer_norm`), not before them."""
        return bool(getattr(self.module.config, "do_stable_layer_norm", False))

    @property
    def min_samples(self) -> int:
        """Receptive field of one frame of the feature extractor (published models: 400 samples, 25 ms)."""
        samples = 1
        for kernel, stride in reversed(self._convolutions()):
            samples = (samples - 1) * stride + kernel
        return samples

    def count_frames(self, samples: int) -> int:
        frames = self._count_feature_frames(max(samples, self.min_samples))
        return frames if self.adapter is None else count_adapted_frames(self.adapter, frames)

    def _prepare(self, waveforms: Sequence[np.ndarray]) -> Inputs:
        """Normalise each waveform alone (if its extractor does); pad one shorter than a frame with silence."""
        return pad_together([torch.from_numpy(self._normalise(waveform)) for waveform in waveforms])

    def forward_to(self, inputs: Inputs, layer: int) -> Hidden:
        states, lengths = self._extract_features(inputs)
        hidden = Hidden(mask_padding(states, lengths), lengths, FEATURE_OUTPUT)
        return hidden if layer == FEATURE_OUTPUT else self._run_to(hidden, layer)

    def forward_from(self, hidden: Hidden) -> Frames:
        hidden = self._run_to(hidden, self.depth)
        states, lengths = self._apply_final_norm(hidden.states), hidden.lengths
        if self.adapter is not None:
            states, lengths = apply_adapter(self.adapter, states, lengths)
        return Frames(mask_padding(states, lengths), lengths)

    # -- overridden by families --------------------------------------------------------------------------------
    def _count_feature_frames(self, samples: int) -> int:
        """Return the number of frames of the feature extractor for at least `min_samples` samples."""
        frames = samples
        for kernel, stride in self._convolutions():
            frames = (frames - kernel) // stride + 1
        return frames

    def _extract_features(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Apply the convolutions to (batch, time) samples: (batch, frames, channels) and their lengths.

        Only the group norm needs masking: an unpadded convolution computes valid frames from valid samples alone.
        """
        states, lengths = inputs.features[:, None], inputs.lengths
        for convolution, (kernel, stride) in zip(
            self.module.feature_extractor.conv_layers, self._convolutions(), strict=True
        ):
            lengths = (lengths - kernel) // stride + 1
            if isinstance(getattr(convolution, "layer_norm", None), nn.GroupNorm):
                states = convolution.activation(
                    _norm_over_time(convolution.layer_norm, convolution.conv(states), lengths)
                )
            else:
                states = convolution(states)
        return states.transpose(1, 2), lengths

    def _project(self, states: Tensor) -> Tensor:
        """(batch, frames, channels) to (batch, frames, dim)."""
        return self.module.feature_projection(states)[0]

    def _add_positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Compute the input of layer 0 from projected states, which are zero beyond each length."""
        encoder = self.module.encoder
        states = states + encoder.pos_conv_embed(states)
        return encoder.dropout(states if self.is_norm_first else encoder.layer_norm(states))

    def _run_layers(self, layers: nn.ModuleList, states: Tensor, lengths: Tensor) -> Tensor:
        """Apply consecutive transformer layers."""
        mask = make_additive_mask(states, lengths)
        for layer in layers:
            states = layer(states, attention_mask=mask)
        return states

    def _apply_final_norm(self, states: Tensor) -> Tensor:
        """Apply the modules between the last layer and the adapter."""
        return self.module.encoder.layer_norm(states) if self.is_norm_first else states

    # -- common ------------------------------------------------------------------------------------------------
    def _convolutions(self) -> list[tuple[int, int]]:
        """Return (kernel, stride) of each convolution, from the input on."""
        config = self.module.config
        return list(zip(config.conv_kernel, config.conv_stride, strict=True))

    def _normalise(self, waveform: np.ndarray) -> np.ndarray:
        signal = np.ascontiguousarray(waveform, dtype=np.float32)
        if len(signal) < self.min_samples:
            signal = np.pad(signal, (0, self.min_samples - len(signal)))
        return np.asarray(self.extractor(signal, sampling_rate=SAMPLE_RATE).input_values[0], dtype=np.float32)

    def _run_to(self, hidden: Hidden, layer: int) -> Hidden:
        """Compute the input of layer `layer` from a lower split."""
        states, start = hidden.states, hidden.layer
        if start == FEATURE_OUTPUT:
            # the projection's bias fills the padding, which the convolutional positions would read
            states = self._add_positions(mask_padding(self._project(states), hidden.lengths), hidden.lengths)
            start = 0
        return Hidden(self._run_layers(self.layers[start:layer], states, hidden.lengths), hidden.lengths, layer)


def apply_batch_norm_in_eval(norm: nn.BatchNorm1d, states: Tensor) -> Tensor:
    """Apply a batch norm to (batch, dim, frames) with its running statistics, also in train mode.

    Batch statistics would make an utterance's frames depend on the batch, and would update frozen modules.
    """
    return F.batch_norm(states, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


def _norm_over_time(norm: nn.GroupNorm, states: Tensor, lengths: Tensor) -> Tensor:
    """Apply a group norm to (batch, channels, frames) with the statistics of each utterance, as for batch size 1."""
    size = states.shape[-1]
    if bool((lengths == size).all()):
        return norm(states)
    normed: Tensor | None = None
    for k, length in enumerate(lengths.tolist()):
        row = norm(states[k : k + 1, :, :length])  # one call per row avoids a masked copy of a large tensor
        normed = row.new_zeros(states.shape) if normed is None else normed  # float32 under autocast
        normed[k, :, :length] = row[0]
    return states if normed is None else normed


def _check_supported(module: Any, extractor: Any) -> None:
    config = module.config
    attention = getattr(config, "_attn_implementation", None) or "eager"
    if attention not in _ATTENTION:
        raise UserError(
            f"attention '{attention}' does not support the padding masks",
            where=config.model_type,
            fix="load the model with attn_implementation='sdpa'",
        )
    rate = getattr(extractor, "sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UserError(
            f"this checkpoint was trained on audio at {rate:,} Hz; speechxfer reads {SAMPLE_RATE:,} Hz",
            where=config.model_type,
        )
