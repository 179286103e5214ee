"""Connectionist temporal classification (Graves et al. 2006): emissions and targets to a loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from speechxfer.shapes import IGNORE_INDEX, Emissions


def compute_ctc_loss(emissions: Emissions, labels: Tensor, blank: int) -> Tensor:
    """Negative log-likelihood summed over the batch's utterances, over their true lengths, in float32.

    labels: (batch, targets) int64, -100 where padded. An utterance that is too short for its text adds nothing
    (`zero_infinity`), rather than make the batch's loss infinite. On Apple's MPS, which has no CTC, it runs on the CPU.
    """
    return _negative_log_likelihoods(emissions, labels, blank).sum().to(emissions.log_probs.device)


@torch.no_grad()
def compute_ctc_log_probs(emissions: Emissions, labels: Tensor, blank: int) -> Tensor:
    """(batch,) log-probability of each row of labels over all its alignments; -inf for one that the frames cannot hold.

    labels: (batch, targets) int64, -100 where padded.
    """
    return -_negative_log_likelihoods(emissions, labels, blank, zero_infinity=False)


def _negative_log_likelihoods(
    emissions: Emissions, labels: Tensor, blank: int, *, zero_infinity: bool = True
) -> Tensor:
    log_probs = emissions.log_probs.float()
    counts = (labels != IGNORE_INDEX).sum(1)
    if log_probs.device.type == "mps":
        log_probs = log_probs.cpu()
    device = log_probs.device
    return F.ctc_loss(
        log_probs.transpose(0, 1),  # (frames, batch, vocab)
        labels.clamp(min=0).to(device),
        emissions.lengths.to(device),
        counts.to(device),
        blank=blank,
        reduction="none",
        zero_infinity=zero_infinity,
    )
