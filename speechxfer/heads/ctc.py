"""CTC (Graves et al. 2006): a head from frames to emissions, and the loss and log-probabilities of label sequences.

A wav2vec2 checkpoint's own CTC head is transformers' `lm_head`, which `models.ctc` calls.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechxfer.heads.bilstm import BiLSTM
from speechxfer.shapes import IGNORE_INDEX, Emissions, Frames


class CtcHead(nn.Module):
    """Frames (batch, frames, dim) to emissions (batch, frames, vocab): dropout, LSTM layers, a linear layer.

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


def compute_ctc_loss(emissions: Emissions, labels: Tensor, blank: int) -> Tensor:
    """Compute the negative log-likelihood in float32, summed over the batch; frames beyond each length are ignored.

    An utterance that is too short for its text contributes zero (`zero_infinity`). On MPS, which has no CTC loss, it is
    computed on the CPU.

    labels: (batch, targets) int64, padded with -100.
    """
    return _negative_log_likelihoods(emissions, labels, blank).sum().to(emissions.log_probs.device)


@torch.no_grad()
def compute_ctc_log_probs(emissions: Emissions, labels: Tensor, blank: int) -> Tensor:
    """Compute the (batch,) log-probability of each label sequence over all alignments; -inf if the frames are too few.

    labels: (batch, targets) int64, padded with -100.
    """
    return -_negative_log_likelihoods(emissions, labels, blank, zero_infinity=False)


def _negative_log_likelihoods(
    emissions: Emissions, labels: Tensor, blank: int, *, zero_infinity: bool = True
) -> Tensor:
    log_probs = emissions.log_probs.float()
    if log_probs.device.type == "mps":
        log_probs = log_probs.cpu()
    device = log_probs.device
    return F.ctc_loss(
        log_probs.transpose(0, 1),  # (frames, batch, vocab)
        labels.clamp(min=0).to(device),
        emissions.lengths,
        count_targets(labels),
        blank=blank,
        reduction="none",
        zero_infinity=zero_infinity,
    )


def count_targets(labels: Tensor) -> Tensor:
    """Return the number of targets of each row, (batch,) int64 on the CPU, where the loss reads it."""
    return (labels != IGNORE_INDEX).sum(1).cpu()
