"""Whisper with an additional CTC head on its encoder (Watanabe et al. 2017, hybrid CTC/attention).

The CTC head aligns the encoder's frames with the audio, and rescores the decoder's hypotheses: a hypothesis that
continues after the end of speech has a low CTC probability.
"""

from __future__ import annotations

from torch import nn
from transformers import WhisperForConditionalGeneration

from speechxfer.heads.bilstm import BiLSTM
from speechxfer.shapes import Emissions, Frames


class CtcHead(nn.Module):
    """Frames (batch, frames, dim) to emissions (batch, frames, symbols): dropout, LSTM layers, a linear layer.

    recurrent: number of bidirectional LSTM layers. Whisper's frames were trained for its decoder and separate letters
    poorly; temporal context helps more than width.
    """

    def __init__(self, dim: int, symbols: int, *, recurrent: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.recurrent = BiLSTM(dim, recurrent, dropout=dropout) if recurrent else None
        self.output = nn.Linear(dim, symbols)

    def forward(self, frames: Frames) -> Emissions:
        """Compute log-probabilities, independent of padding."""
        states = self.dropout(frames.states)
        if self.recurrent is not None:
            states = self.dropout(self.recurrent(states, frames.lengths))
        return Emissions(self.output(states).float().log_softmax(-1), frames.lengths)


class WhisperWithCtc(nn.Module):
    """Both as one module, for training and checkpoints. `JointRecogniser` calls its submodules."""

    def __init__(self, whisper: WhisperForConditionalGeneration, ctc: CtcHead) -> None:
        super().__init__()
        self.whisper, self.ctc = whisper, ctc
