"""Base class of the encoder families: waveforms to frames, split at any layer, independent of the batch.

A `SpeechEncoder` is a view of a transformers module without weights of its own, so `save_pretrained` of the whole
model saves what was trained through it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxfer.shapes import SAMPLE_RATE, Frames, Hidden, Inputs, length_mask

FEATURE_OUTPUT = -1  # split at the output of the feature extractor; 0 is the input of the first transformer layer


class SpeechEncoder(ABC):
    """Interface of all families: `frames = forward_from(forward_to(prepare(waveforms), layer))` for every layer.

    Splits: `FEATURE_OUTPUT` (-1) is the output of the convolutional feature extractor, `k` in 0..depth the input of
    transformer layer k; above `depth` there is only the final norm. The frames of an utterance do not depend on the
    other utterances of the batch (to 1e-4).
    """

    family: str  # transformers' `model_type`

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module  # torch types submodules as Tensor or Module
        self.pad_silence = 0.0  # seconds of silence before and after every waveform: see `prepare`

    # -- implemented by each family ----------------------------------------------------------------------------
    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of the frames."""

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The transformer layers, from input to output."""

    @property
    @abstractmethod
    def feature_extractor(self) -> list[nn.Module]:
        """The convolutional front end, which is frozen and in eval mode in every recipe."""

    @abstractmethod
    def get_embedding_modules(self) -> list[nn.Module]:
        """Return the trainable modules between the feature extractor and layer 0 (projection, positions)."""

    @abstractmethod
    def get_output_modules(self) -> list[nn.Module]:
        """Return the modules above the last layer (the final norm), if any."""

    def get_language_adapters(self) -> list[nn.Module]:
        """Return the modules within the layers that belong to one language (MMS), if any."""
        return []

    @abstractmethod
    def count_frames(self, samples: int) -> int:
        """Return the number of frames for `samples` samples at 16 kHz."""

    @abstractmethod
    def _prepare(self, waveforms: Sequence[np.ndarray]) -> Inputs:
        """Preprocess each waveform alone, then pad with zeros."""

    @abstractmethod
    def forward_to(self, inputs: Inputs, layer: int) -> Hidden:
        """Compute the input of transformer layer `layer` (or `FEATURE_OUTPUT`)."""

    @abstractmethod
    def forward_from(self, hidden: Hidden) -> Frames:
        """Compute frames from the hidden states at a split."""

    # -- common ------------------------------------------------------------------------------------------------
    def prepare(self, waveforms: Sequence[np.ndarray]) -> Inputs:
        """Preprocess waveforms, (time,) float32 at 16 kHz each, independently of each other.

        With `pad_silence`, that many seconds of zeros are added before and after each, or as many as the encoder can
        take: encoders that were pretrained on whole recordings encode a single word better within silence.
        """
        return self._prepare([self._add_silence(waveform) for waveform in waveforms])

    def _add_silence(self, waveform: np.ndarray) -> np.ndarray:
        samples = round(self.pad_silence * SAMPLE_RATE)
        if self.max_samples is not None:
            samples = min(samples, max(0, self.max_samples - len(waveform)) // 2)
        return np.pad(waveform, samples) if samples else waveform

    @property
    def depth(self) -> int:
        """Number of transformer layers."""
        return len(self.layers)

    @property
    def max_samples(self) -> int | None:
        """Maximum number of samples of an utterance; None if only memory limits it."""
        return None

    @property
    def max_seconds(self) -> float | None:
        """Maximum length of an utterance in seconds; None if only memory limits it."""
        return None if self.max_samples is None else self.max_samples / SAMPLE_RATE

    def compute_padded_seconds(self, seconds: float) -> float:
        """Return the duration that is encoded for an utterance of `seconds`, with silence and Whisper's padding."""
        padded = (self.max_samples or 0) / SAMPLE_RATE if getattr(self, "pad_to_30s", False) else 0.0
        return max(seconds + 2 * self.pad_silence, padded)

    @property
    def frame_seconds(self) -> float:
        """Frame shift in seconds."""
        return 10 / (self.count_frames(20 * SAMPLE_RATE) - self.count_frames(10 * SAMPLE_RATE))

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def __call__(self, inputs: Inputs) -> Frames:
        return self.forward_from(self.forward_to(inputs, FEATURE_OUTPUT))

    def list_modules_below(self, split: int) -> Iterator[nn.Module]:
        """Yield the modules that are frozen below a split: the feature extractor, and everything below layer `split`.

        At `split == depth` the final norm is included, as only a head is trained then.
        """
        yield from self.feature_extractor
        if split > FEATURE_OUTPUT:
            yield from self.get_embedding_modules()
            yield from self.layers[:split]
        if split == self.depth:
            yield from self.get_output_modules()


def make_additive_mask(states: Tensor, lengths: Tensor) -> Tensor | None:
    """Return the (batch, 1, 1, frames) mask to add to attention scores over (batch, frames, dim) states.

    None without padding.
    """
    size, dtype = states.shape[1], states.dtype
    if bool((lengths == size).all()):
        return None
    mask = torch.zeros(len(lengths), 1, 1, size, dtype=dtype, device=states.device)
    return mask.masked_fill(~length_mask(lengths, size, states.device)[:, None, None, :], torch.finfo(dtype).min)


def mask_padding(states: Tensor, lengths: Tensor) -> Tensor:
    """Set (batch, frames, dim) states beyond each length to zero."""
    if bool((lengths == states.shape[1]).all()):
        return states
    return states * length_mask(lengths, states.shape[1], states.device)[:, :, None].to(states.dtype)


def pad_together(features: Sequence[Tensor]) -> Inputs:
    """Stack tensors (..., time) of one utterance each, padded with zeros to the longest: (batch, ..., time)."""
    lengths = torch.tensor([feature.shape[-1] for feature in features])
    batch = features[0].new_zeros(len(features), *features[0].shape[:-1], int(lengths.max()))
    for row, feature in zip(batch, features, strict=True):
        row[..., : feature.shape[-1]] = feature
    return Inputs(batch, lengths)
