"""Context over time before a CTC head's linear layer: frames learnt for a decoder part letters badly alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Context(nn.LSTM):
    """Bidirectional LSTM layers, each half as wide as the frames in either direction."""

    def __init__(self, dim: int, layers: int, *, dropout: float = 0.0) -> None:
        between = dropout if layers > 1 else 0.0
        super().__init__(dim, dim // 2, layers, batch_first=True, dropout=between, bidirectional=True)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, frames, dim) to the same, each utterance over its own frames alone; lengths: (batch,)."""
        if bool((lengths == states.shape[1]).all()):
            return super().forward(states)[0]
        packed: Any = pack_padded_sequence(states, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(super().forward(packed)[0], batch_first=True, total_length=states.shape[1])[0]
