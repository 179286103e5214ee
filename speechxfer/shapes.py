"""Tensors that travel with their lengths, and the letters that docstrings use for their dimensions.

| letter | dimension | unit |
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

SAMPLE_RATE = 16_000  # Hz; every encoder here was pretrained at this rate
IGNORE_INDEX = -100  # torch's mark for a target that no loss sees


@dataclass
class Inputs:
    """What a family's own preprocessing makes of waveforms, each utterance on its own, then padded together.

    features: (batch, time) normalised waveforms, or (batch, mels, time) log-mel. What lies beyond a length is zero.
    lengths: (batch,) int64, valid steps along the last axis of `features`.
    """

    features: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Inputs:
        return Inputs(self.features.to(device, dtype), self.lengths.to(device))


@dataclass
class Hidden:
    """Hidden states at a split: the input of transformer layer `layer` (-1: the feature extractor's output).

    states: (batch, frames, dim). lengths: (batch,) int64 frames. Whatever else the layers above need (WavLM's position
    bias, conformer's relative positions) follows from these, so that `upper(lower(x))` is the whole encoder.
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
    """A CTC head's output. log_probs: (batch, frames, vocab) log-softmax; lengths: (batch,) int64 frames."""

    log_probs: Tensor
    lengths: Tensor

    def split_rows(self) -> list[Tensor]:
        """Each utterance's own log-probabilities, (frames, vocab) float32 on the CPU; views of the batch."""
        whole = self.log_probs.detach().float().cpu()
        return [row[:length] for row, length in zip(whole, self.lengths.tolist(), strict=True)]


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(batch,) lengths to a (batch, size) boolean mask, True where a step is valid."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def pad_targets(rows: Sequence[Sequence[int]]) -> Tensor:
    """Each utterance's targets to one (batch, targets) int64, `IGNORED` where a row is shorter; at least one column."""
    found = torch.full((len(rows), max(1, *map(len, rows), 1)), IGNORE_INDEX)
    for row, targets in zip(found, rows, strict=True):
        row[: len(targets)] = torch.tensor(targets, dtype=torch.int64)
    return found
