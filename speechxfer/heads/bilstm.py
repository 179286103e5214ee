"""Context over time before a CTC head's linear layer: frames learnt for a decoder part letters badly alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class BiLSTM(nn.LSTM):
    """Bidirectional LSTM layers, each half as wide as the frames in either direction."""

    def __init__(self, dim: int, layers: int, *, dropout: float = 0.0) -> None:
        between = dropout if layers > 1 else 0.0
        super().__init__(dim, dim // 2, layers, batch_first=True, dropout=between, bidirectional=True)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, frames, dim) to the same, each utterance over its own frames alone; lengths: (batch,)."""
        if bool((lengths == states.shape[1]).all()):
            return super().forward(states)[0]
        if states.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):  # rounding would add up over the frames
                return self._by_direction(states.float(), lengths)
        packed: Any = pack_padded_sequence(states, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(super().forward(packed)[0], batch_first=True, total_length=states.shape[1])[0]

    def _by_direction(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The same without packing, which on a CPU takes eight times as long in training.

        What stands behind an utterance's end does not reach it forwards; backwards, each is turned round within its own
        length and back again.
        """
        places = torch.arange(states.shape[1])
        inside = places < lengths[:, None]
        turned = torch.where(inside, lengths[:, None] - 1 - places, places)[..., None]
        for layer in range(self.num_layers):
            if layer:
                states = nn.functional.dropout(states, self.dropout, self.training)
            backwards = self._one_way(states.gather(1, turned.expand_as(states)), layer, "_reverse")
            backwards = backwards.gather(1, turned.expand_as(backwards))
            states = torch.cat([self._one_way(states, layer, ""), backwards], -1)
        return states * inside[..., None]

    def _one_way(self, states: Tensor, layer: int, direction: str) -> Tensor:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self, f"{name}_l{layer}{direction}") for name in names]
        zeros = states.new_zeros(1, len(states), self.hidden_size)
        return torch.lstm(states, (zeros, zeros), weights, True, 1, 0.0, self.training, False, True)[0]
