"""Rescoring of a decoder's n-best hypotheses with CTC scores, and minimum Bayes risk (MBR) decoding.

Watanabe et al. 2017 (hybrid CTC/attention, here as rescoring); Goel and Byrne 2000 (minimum Bayes risk).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class DecoderHypothesis:
    """A hypothesis of a decoder. words: normalised. decoder, ctc: natural log-probabilities of the whole text."""

    text: str
    words: tuple[str, ...]
    decoder: float
    ctc: float


@dataclass(frozen=True)
class RescoringWeights:
    """Weights of the scores. ctc: weight of the CTC score (the decoder's is 1 - ctc). word: bonus per word.

    risk: 0 chooses the hypothesis with the highest score. A positive value is the scale of MBR decoding: it chooses the
    hypothesis with the fewest expected word errors, where each hypothesis is weighted by its probability to the power
    of `risk`.
    """

    ctc: float = 0.3
    word: float = 0.0
    risk: float = 0.0


def rescore_hypothesis(hypothesis: DecoderHypothesis, weights: RescoringWeights) -> float:
    """Compute the weighted log-probability of a hypothesis."""
    score = (1 - weights.ctc) * hypothesis.decoder + (weights.ctc * hypothesis.ctc if weights.ctc else 0.0)
    return score + weights.word * len(hypothesis.words)


def choose_hypothesis(hypotheses: Sequence[DecoderHypothesis], weights: RescoringWeights) -> DecoderHypothesis:
    """Choose the best of an utterance's hypotheses; ties prefer the decoder's order."""
    scores = [rescore_hypothesis(hypothesis, weights) for hypothesis in hypotheses]
    best = max(scores)
    if not weights.risk or math.isinf(best):  # if no hypothesis fits into the frames, the decoder's first one is kept
        return hypotheses[scores.index(best)]
    shares = [math.exp(weights.risk * (each - best)) for each in scores]
    expected = [
        sum(
            share * Levenshtein.distance(one.words, other.words)
            for share, other in zip(shares, hypotheses, strict=True)
        )
        for one in hypotheses
    ]
    return hypotheses[min(range(len(hypotheses)), key=lambda index: (expected[index], -scores[index]))]
