"""Tensors with their lengths, and the names that docstrings use for dimensions.

Lengths are on the CPU, whatever the device of the tensor: they decide how a batch is computed, and reading them from a
GPU would wait for it.

| name | dimension | unit |
|---|---|---|
| batch | utterances of a batch | |
| time | samples of a waveform at `SAMPLE_RATE` | 1/16,000 s |
| frames | encoder frames | one stride of the encoder (20 ms for wav2vec2 and Whisper) |
| dim | width of the encoder | |
| vocab | output symbols, the CTC blank included | |
| classes | labels of a classifier | |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE_RATE = 16_000  # Hz; all supported encoders were pretrained at this rate
IGNORE_INDEX = -100  # torch's value for targets that losses ignore


@dataclass
class Inputs:
    """Preprocessed waveforms: each utterance is preprocessed alone, then padded to a batch.

    features: (batch, time) normalised waveforms, or (batch, mels, time) log-mel; zero beyond each length.
    lengths: (batch,) int64 on the CPU, valid steps along the last axis of `features`.
    """

    features: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Inputs:
        return Inputs(self.features.to(device, dtype), self.lengths)


@dataclass
class Hidden:
    """Hidden states at a split: the input of transformer layer `layer` (-1: output of the feature extractor).

    states: (batch, frames, dim). lengths: (batch,) int64 frames. Everything else that the layers above need (WavLM's
    position bias, the conformer's relative positions) is recomputed from these, so that
    `forward_from(forward_to(x, layer))` is the whole encoder.
    """

    states: Tensor
    lengths: Tensor
    layer: int


@dataclass
class Frames:
    """Encoder output. states: (batch, frames, dim), zero beyond each length; lengths: (batch,) int64 frames."""

    states: Tensor
    lengths: Tensor


@dataclass
class Emissions:
    """Output of a CTC head. log_probs: (batch, frames, vocab) log-softmax; lengths: (batch,) int64 frames."""

    log_probs: Tensor
    lengths: Tensor

    def split_rows(self) -> list[Tensor]:
        """Return each utterance's log-probabilities without padding, (frames, vocab) float32 on the CPU (views)."""
        batch = self.log_probs.detach().float().cpu()
        return [row[:length] for row, length in zip(batch, self.lengths.tolist(), strict=True)]


def length_mask(lengths: Tensor, size: int, device: torch.device | None = None) -> Tensor:
    """Convert (batch,) lengths to a (batch, size) boolean mask on `device` (default: CPU), True at valid steps."""
    return (torch.arange(size)[None, :] < lengths[:, None]).to(device)


def pad_targets(rows: Sequence[Sequence[int]]) -> Tensor:
    """Pad targets to (batch, targets) int64 with `IGNORE_INDEX`; at least one column."""
    padded = torch.full((len(rows), max(1, *map(len, rows), 1)), IGNORE_INDEX)
    for row, targets in zip(padded, rows, strict=True):
        row[: len(targets)] = torch.tensor(targets, dtype=torch.int64)
    return padded
