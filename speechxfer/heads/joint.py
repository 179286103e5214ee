"""Whisper with its own decoder, and a CTC head on the same encoder (Watanabe et al. 2017, hybrid CTC/attention).

The CTC head makes the encoder's frames follow the audio in time, and scores what the decoder says: a hypothesis that
goes on after the speech has ended cannot be spelt within the frames.
"""

from __future__ import annotations

from torch import nn
from transformers import WhisperForConditionalGeneration

from speechxfer.heads.bilstm import BiLSTM
from speechxfer.shapes import Emissions, Frames


class CtcHead(nn.Module):
    """Frames (batch, frames, dim) to emissions (batch, frames, symbols): dropout, LSTMs, a linear layer.

    recurrent: the number of bidirectional LSTM layers, 0 for none. Whisper's frames serve its decoder and part letters
    badly; context over time helps more than width.
    """

    def __init__(self, dim: int, symbols: int, *, recurrent: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.recurrent = BiLSTM(dim, recurrent, dropout=dropout) if recurrent else None
        self.output = nn.Linear(dim, symbols)

    def forward(self, frames: Frames) -> Emissions:
        """Log-probabilities, each utterance's from its own frames alone."""
        states = self.dropout(frames.states)
        if self.recurrent is not None:
            states = self.dropout(self.recurrent(states, frames.lengths))
        return Emissions(self.output(states).float().log_softmax(-1), frames.lengths)


class WhisperWithCtc(nn.Module):
    """The two as one network: all that trains and that a checkpoint holds. `JointRecogniser` calls its parts."""

    def __init__(self, whisper: WhisperForConditionalGeneration, ctc: CtcHead) -> None:
        super().__init__()
        self.whisper, self.ctc = whisper, ctc
