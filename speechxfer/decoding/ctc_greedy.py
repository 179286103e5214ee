"""Greedy CTC decoding."""

from __future__ import annotations

from torch import Tensor

from speechxfer.shapes import Emissions


def decode_greedy(emissions: Emissions, blank: int) -> list[list[int]]:
    """Decode each utterance to token ids: the best path, with repeats merged and blanks dropped (Graves et al. 2006).

    emissions: log_probs (batch, frames, vocab) with true lengths.
    """
    best = emissions.log_probs.argmax(-1).cpu()
    return [_collapse(row[:length], blank) for row, length in zip(best, emissions.lengths.tolist(), strict=True)]


def _collapse(path: Tensor, blank: int) -> list[int]:
    merged = path.unique_consecutive()
    return merged[merged != blank].tolist()
