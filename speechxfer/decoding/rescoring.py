"""Chooses among a decoder's hypotheses by more than the decoder: by the CTC head, and by what the others say.

Watanabe et al. 2017 (hybrid CTC/attention, here as rescoring); Goel and Byrne 2000 (the least expected word errors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class DecoderHypothesis:
    """What a decoder may have heard. words: normalised. decoder, ctc: log-probabilities, natural, of the whole."""

    text: str
    words: tuple[str, ...]
    decoder: float
    ctc: float


@dataclass(frozen=True)
class RescoringWeights:
    """How hypotheses are weighed. ctc: the CTC head's share, the decoder's is the rest. word: added for every word.

    risk: 0 takes the likeliest hypothesis. Above, the one whose words differ least from what the hypotheses say
    together, each weighed by its probability to the power of `risk`: the lower, the more the others count.
    """

    ctc: float = 0.3
    word: float = 0.0
    risk: float = 0.0


def rescore_hypothesis(hypothesis: DecoderHypothesis, weights: RescoringWeights) -> float:
    """The hypothesis's weighed log-probability."""
    together = (1 - weights.ctc) * hypothesis.decoder + (weights.ctc * hypothesis.ctc if weights.ctc else 0.0)
    return together + weights.word * len(hypothesis.words)


def choose_hypothesis(hypotheses: Sequence[DecoderHypothesis], weights: RescoringWeights) -> DecoderHypothesis:
    """The best of one utterance's hypotheses; of equals the one that the decoder put first."""
    scores = [rescore_hypothesis(hypothesis, weights) for hypothesis in hypotheses]
    best = max(scores)
    if not weights.risk or math.isinf(best):  # where nothing fits into the frames, the decoder's first stands
        return hypotheses[scores.index(best)]
    shares = [math.exp(weights.risk * (each - best)) for each in scores]
    expected = [
        sum(
            share * Levenshtein.distance(one.words, other.words)
            for share, other in zip(shares, hypotheses, strict=True)
        )
        for one in hypotheses
    ]
    return hypotheses[min(range(len(hypotheses)), key=lambda place: (expected[place], -scores[place]))]
