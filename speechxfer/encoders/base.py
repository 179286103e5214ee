"""What every encoder family offers: waveforms to frames, split at any layer, each utterance on its own.

A `SpeechEncoder` is a view on a transformers module: it holds no weights of its own, so what trains through it is
what `save_pretrained` of the whole model writes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxfer.shapes import SAMPLE_RATE, Frames, Hidden, Inputs, length_mask

FEATURE_OUTPUT = -1  # the split at the feature extractor's output; 0 is the input of the first transformer layer


class SpeechEncoder(ABC):
    """One interface over the families. `frames = upper(lower(prepare(waveforms), layer))` for every layer.

    Splits: `FEATURE_OUTPUT` (-1) is the convolutional feature extractor's output, `k` in 0..depth the input of transformer
    layer k; `depth` leaves only the final norm above. An utterance's frames do not depend on its batch (to 1e-4).
    """

    family: str  # transformers' `model_type`

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module  # torch types a submodule as Tensor or Module; families know better
        self.pad_silence = 0.0  # seconds put before and after every waveform: see `prepare`

    # -- what a family states ----------------------------------------------------------------------------------
    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of the frames."""

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The transformer layers, lowest first."""

    @property
    @abstractmethod
    def feature_extractor(self) -> list[nn.Module]:
        """The convolutional front end: frozen and in eval mode in every recipe."""

    @abstractmethod
    def get_embedding_modules(self) -> list[nn.Module]:
        """What stands between the feature extractor and layer 0 and can train (projection, positions)."""

    @abstractmethod
    def get_output_modules(self) -> list[nn.Module]:
        """What stands above the last layer (the final norm), if anything."""

    @abstractmethod
    def count_frames(self, samples: int) -> int:
        """Number of frames that `samples` samples at 16 kHz become."""

    @abstractmethod
    def _prepare(self, waveforms: Sequence[np.ndarray]) -> Inputs:
        """Each waveform preprocessed alone as its family does, then padded with zeros."""

    @abstractmethod
    def forward_to(self, inputs: Inputs, layer: int) -> Hidden:
        """From inputs to the input of transformer layer `layer` (or `FEATURE_OUTPUT`)."""

    @abstractmethod
    def forward_from(self, hidden: Hidden) -> Frames:
        """From a split to frames."""

    # -- what follows from it ----------------------------------------------------------------------------------
    def prepare(self, waveforms: Sequence[np.ndarray]) -> Inputs:
        """Waveforms, (time,) float32 at 16 kHz each, to the inputs of `lower`, every utterance on its own.

        With `silence`, so many seconds of zeros stand before and after each, less where the encoder holds no more: an
        encoder that was pretrained on whole recordings knows a word in silence better than a bare half second of it.
        """
        return self._prepare([self._in_silence(waveform) for waveform in waveforms])

    def _in_silence(self, waveform: np.ndarray) -> np.ndarray:
        samples = round(self.pad_silence * SAMPLE_RATE)
        if self.max_samples is not None:
            samples = min(samples, max(0, self.max_samples - len(waveform)) // 2)
        return np.pad(waveform, samples) if samples else waveform

    @property
    def depth(self) -> int:
        return len(self.layers)

    @property
    def max_samples(self) -> int | None:
        """Samples that one utterance may have; None where nothing but memory bounds it."""
        return None

    def compute_padded_seconds(self, seconds: float) -> float:
        """What an utterance of `seconds` costs in a batch: its silence counts, and Whisper's padding to 30 s."""
        padded = (self.max_samples or 0) / SAMPLE_RATE if getattr(self, "pad_to_30s", False) else 0.0
        return max(seconds + 2 * self.pad_silence, padded)

    @property
    def frame_seconds(self) -> float:
        """From one frame to the next."""
        return 10 / (self.count_frames(20 * SAMPLE_RATE) - self.count_frames(10 * SAMPLE_RATE))

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def __call__(self, inputs: Inputs) -> Frames:
        return self.forward_from(self.forward_to(inputs, FEATURE_OUTPUT))

    def list_modules_below(self, split: int) -> Iterator[nn.Module]:
        """The modules that a split leaves frozen: the feature extractor, and what lies under layer `split`.

        With everything frozen (`split == depth`) the final norm is among them: only a head trains then.
        """
        yield from self.feature_extractor
        if split > FEATURE_OUTPUT:
            yield from self.get_embedding_modules()
            yield from self.layers[:split]
        if split == self.depth:
            yield from self.get_output_modules()


def make_additive_mask(lengths: Tensor, size: int, dtype: torch.dtype) -> Tensor | None:
    """(batch,) lengths to a (batch, 1, 1, size) mask added to attention scores; None where nothing is padded."""
    if bool((lengths == size).all()):
        return None
    mask = torch.zeros(len(lengths), 1, 1, size, dtype=dtype, device=lengths.device)
    return mask.masked_fill(~length_mask(lengths, size)[:, None, None, :], torch.finfo(dtype).min)


def mask_padding(states: Tensor, lengths: Tensor) -> Tensor:
    """(batch, frames, dim) states with everything beyond each length set to zero."""
    if bool((lengths == states.shape[1]).all()):
        return states
    return states * length_mask(lengths, states.shape[1])[:, :, None].to(states.dtype)


def pad_together(features: Sequence[Tensor]) -> Inputs:
    """Tensors (..., time) of one utterance each, stacked with zeros to the longest: (batch, ..., time)."""
    lengths = torch.tensor([feature.shape[-1] for feature in features])
    batch = features[0].new_zeros(len(features), *features[0].shape[:-1], int(lengths.max()))
    for row, feature in zip(batch, features, strict=True):
        row[..., : feature.shape[-1]] = feature
    return Inputs(batch, lengths)
