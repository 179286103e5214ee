"""Bidirectional LSTM for padded batches, as context before a CTC head's linear layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class BiLSTM(nn.LSTM):
    """Bidirectional LSTM layers; each direction is half as wide as the frames."""

    def __init__(self, dim: int, layers: int, *, dropout: float = 0.0) -> None:
        between = dropout if layers > 1 else 0.0
        super().__init__(dim, dim // 2, layers, batch_first=True, dropout=between, bidirectional=True)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """Apply the layers to (batch, frames, dim), independent of padding; lengths: (batch,)."""
        if bool((lengths == states.shape[1]).all()):
            return super().forward(states)[0]
        if states.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):  # rounding errors would accumulate over the frames
                return self._run_unpacked(states.float(), lengths)
        packed: Any = pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(super().forward(packed)[0], batch_first=True, total_length=states.shape[1])[0]

    def _run_unpacked(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Apply the layers without packing, with which training on a CPU takes eight times as long.

        Forwards, padding at the end does not influence the frames before it; backwards, each utterance is reversed
        within its length, and the result reversed again.
        """
        positions = torch.arange(states.shape[1])
        valid = positions < lengths[:, None]
        reversal = torch.where(valid, lengths[:, None] - 1 - positions, positions)[..., None]
        for layer in range(self.num_layers):
            if layer:
                states = nn.functional.dropout(states, self.dropout, self.training)
            backwards = self._run_direction(states.gather(1, reversal.expand_as(states)), layer, "_reverse")
            backwards = backwards.gather(1, reversal.expand_as(backwards))
            states = torch.cat([self._run_direction(states, layer, ""), backwards], -1)
        return states * valid[..., None]

    def _run_direction(self, states: Tensor, layer: int, direction: str) -> Tensor:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self, f"{name}_l{layer}{direction}") for name in names]
        zeros = states.new_zeros(1, len(states), self.hidden_size)
        return torch.lstm(states, (zeros, zeros), weights, True, 1, 0.0, self.training, False, True)[0]
