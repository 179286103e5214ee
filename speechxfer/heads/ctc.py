"""Connectionist temporal classification (Graves et al. 2006): loss and log-probabilities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from speechxfer.shapes import IGNORE_INDEX, Emissions


def compute_ctc_loss(emissions: Emissions, labels: Tensor, blank: int) -> Tensor:
    """Compute the negative log-likelihood in float32, summed over the batch, over the true lengths.

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
