"""What the families descended from wav2vec2 share (Baevski et al. 2020, "wav2vec 2.0: a framework for self-supervised
learning of speech representations"): waveform, convolutions, projection, positions, transformer layers.

transformers' own modules and weights do the work, one by one, so that padding can be kept out between them. Their
model's `forward` is never called: in train mode it masks at random and raises on clips under ten frames. Masking is
ours, at the split; layerdrop is never applied, as a layer left out below a cached split would make the cache wrong.
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

_ATTENTION = ("eager", "sdpa")  # these take the additive mask; flash and flex kernels want masks of their own kind


class Wav2Vec2Like(SpeechEncoder):
    """Waveforms (batch, time) to frames (batch, frames, dim), 50 a second with the published strides.

    A family states how it differs: `is_norm_first`, `_project`, `_positions`, `_through`. A checkpoint's convolutional
    adapter (`add_adapter`) stands above the last layer: it shortens the frames, and `dim` is its output's.
    Raises UserError for what is not run here: a flash attention kernel, another sample rate than 16 kHz.
    """

    module: Any  # transformers' bare model

    def __init__(self, module: nn.Module, extractor: Any) -> None:
        super().__init__(module)
        self.extractor = extractor
        _check(self.module, extractor)

    @property
    def dim(self) -> int:
        config = self.module.config
        return int(config.hidden_size if self.adapter is None else config.output_hidden_size)

    @property
    def adapter(self) -> Any:
        """The convolutional adapter (not MMS's, which is inside its layers), or None."""
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

    def get_output_modules(self) -> list[nn.Module]:
        norm = [self.module.encoder.layer_norm] if self.is_norm_first else []
        return norm if self.adapter is None else [*norm, self.adapter]

    @property
    def is_norm_first(self) -> bool:
        """True where the encoder's own norm stands above the layers (`do_stable_layer_norm`), not below them."""
        return bool(getattr(self.module.config, "do_stable_layer_norm", False))

    @property
    def min_samples(self) -> int:
        """Samples under one frame: the receptive field of the feature extractor (400, 25 ms, as published)."""
        samples = 1
        for kernel, stride in reversed(self._convolutions()):
            samples = (samples - 1) * stride + kernel
        return samples

    def count_frames(self, samples: int) -> int:
        frames = self._frames_below(max(samples, self.min_samples))
        return frames if self.adapter is None else count_adapted_frames(self.adapter, frames)

    def _prepare(self, waveforms: Sequence[np.ndarray]) -> Inputs:
        """Each waveform normalised alone (where its extractor says so); one under a frame is filled with silence."""
        return pad_together([torch.from_numpy(self._normalised(waveform)) for waveform in waveforms])

    def forward_to(self, inputs: Inputs, layer: int) -> Hidden:
        states, lengths = self._features(inputs)
        hidden = Hidden(mask_padding(states, lengths), lengths, FEATURE_OUTPUT)
        return hidden if layer == FEATURE_OUTPUT else self._run(hidden, layer)

    def forward_from(self, hidden: Hidden) -> Frames:
        hidden = self._run(hidden, self.depth)
        states, lengths = self._finish(hidden.states), hidden.lengths
        if self.adapter is not None:
            states, lengths = apply_adapter(self.adapter, states, lengths)
        return Frames(mask_padding(states, lengths), lengths)

    # -- what a family may do in its own way -------------------------------------------------------------------
    def _frames_below(self, samples: int) -> int:
        """Frames that the feature extractor makes of at least `min_samples` samples."""
        frames = samples
        for kernel, stride in self._convolutions():
            frames = (frames - kernel) // stride + 1
        return frames

    def _features(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """(batch, time) samples to (batch, frames, channels) and their lengths. Nothing needs a mask here but the
        group norm: a convolution without padding makes each valid frame from valid samples alone."""
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

    def _positions(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Projected states, zero beyond each length, to the input of layer 0."""
        encoder = self.module.encoder
        states = states + encoder.pos_conv_embed(states)
        return encoder.dropout(states if self.is_norm_first else encoder.layer_norm(states))

    def _through(self, layers: nn.ModuleList, states: Tensor, lengths: Tensor) -> Tensor:
        """Through consecutive transformer layers."""
        mask = make_additive_mask(lengths, states.shape[1], states.dtype)
        for layer in layers:
            states = layer(states, attention_mask=mask)
        return states

    def _finish(self, states: Tensor) -> Tensor:
        """What stands above the last layer."""
        return self.module.encoder.layer_norm(states) if self.is_norm_first else states

    # -- shared ------------------------------------------------------------------------------------------------
    def _convolutions(self) -> list[tuple[int, int]]:
        """(kernel, stride) of each convolution, lowest first."""
        config = self.module.config
        return list(zip(config.conv_kernel, config.conv_stride, strict=True))

    def _normalised(self, waveform: np.ndarray) -> np.ndarray:
        signal = np.ascontiguousarray(waveform, dtype=np.float32)
        if len(signal) < self.min_samples:
            signal = np.pad(signal, (0, self.min_samples - len(signal)))
        return np.asarray(self.extractor(signal, sampling_rate=SAMPLE_RATE).input_values[0], dtype=np.float32)

    def _run(self, hidden: Hidden, until: int) -> Hidden:
        """From a split to the input of layer `until`."""
        states, start = hidden.states, hidden.layer
        if start == FEATURE_OUTPUT:
            # the projection's bias fills the padding, and positions are convolutions that would read it
            states = self._positions(mask_padding(self._project(states), hidden.lengths), hidden.lengths)
            start = 0
        return Hidden(self._through(self.layers[start:until], states, hidden.lengths), hidden.lengths, until)


def apply_batch_norm_in_eval(norm: nn.BatchNorm1d, states: Tensor) -> Tensor:
    """A batch norm, (batch, dim, frames), by its running statistics whatever its mode: those of a batch would make an
    utterance's frames depend on its neighbours, and frozen ones would move."""
    return F.batch_norm(states, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


def _norm_over_time(norm: nn.GroupNorm, states: Tensor, lengths: Tensor) -> Tensor:
    """A group norm over (batch, channels, frames) whose statistics are each utterance's own, as at batch 1."""
    size = states.shape[-1]
    if bool((lengths == size).all()):
        return norm(states)
    whole: Tensor | None = None
    for k, length in enumerate(lengths.tolist()):
        row = norm(states[k : k + 1, :, :length])  # each in its own call: no copy of a wide tensor to mask it
        whole = row.new_zeros(states.shape) if whole is None else whole  # float32 under autocast
        whole[k, :, :length] = row[0]
    return states if whole is None else whole


def _check(module: Any, extractor: Any) -> None:
    config = module.config
    attention = getattr(config, "_attn_implementation", None) or "eager"
    if attention not in _ATTENTION:
        raise UserError(
            f"attention '{attention}' cannot take the masks that keep utterances apart",
            where=config.model_type,
            fix="load the model with attn_implementation='sdpa'",
        )
    rate = getattr(extractor, "sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UserError(
            f"this checkpoint was trained on audio at {rate:,} Hz; speechxfer reads {SAMPLE_RATE:,} Hz",
            where=config.model_type,
        )
