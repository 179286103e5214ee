"""Choosing among hypotheses, against what is counted by hand."""

from __future__ import annotations

import math

import pytest

from speechxfer.decoding.rescoring import DecoderHypothesis, RescoringWeights, choose_hypothesis, rescore_hypothesis


def texts(text: str, decoder: float, ctc: float) -> DecoderHypothesis:
    return DecoderHypothesis(text.capitalize(), tuple(text.split()), decoder, ctc)


def test_each_weight_does_what_it_says():
    hypotheses = [texts("the cat", -2, -9), texts("a cat", -3, -4), texts("a cat sat", -4, -6)]
    assert choose_hypothesis(hypotheses, RescoringWeights(ctc=0)).text == "The cat"
    assert rescore_hypothesis(hypotheses[1], RescoringWeights(ctc=0.5)) == -3.5
    assert choose_hypothesis(hypotheses, RescoringWeights(ctc=0.5)).text == "A cat"  # -5.5, -3.5, -5
    assert choose_hypothesis(hypotheses, RescoringWeights(ctc=0.5, word=2)).text == "A cat sat"  # -1.5, 0.5, 1


def test_risk_takes_what_the_others_agree_with():
    """At risk 1 the shares are about 0.4, 0.3, 0.3: 'a b d' differs by 0.7 word from the others, the first by 1.2."""
    hypotheses = [texts("a x c", math.log(0.4), 0), texts("a b d", math.log(0.3), 0), texts("a b e", math.log(0.3), 0)]
    assert choose_hypothesis(hypotheses, RescoringWeights(ctc=0)).text == "A x c"
    # expected errors: 2 * 0.6 = 1.2; 2 * 0.4 + 1 * 0.3 = 1.1; the same, and less likely by nothing: the first of them
    assert choose_hypothesis(hypotheses, RescoringWeights(ctc=0, risk=1)).text == "A b d"
    assert choose_hypothesis(hypotheses, RescoringWeights(ctc=0, risk=50)).text == "A x c"  # as good as certain


def test_what_does_not_fit_into_the_frames_is_not_chosen():
    loop = texts("no no no no", -1, -math.inf)
    assert choose_hypothesis([loop, texts("no", -9, -3)], RescoringWeights(ctc=0.2, risk=0.5)).text == "No"
    assert choose_hypothesis([loop], RescoringWeights(ctc=0.2, risk=0.5)).text == "No no no no"
    assert choose_hypothesis([loop, texts("no", -9, -3)], RescoringWeights(ctc=0)).text == "No no no no"


@pytest.mark.parametrize("risk", [0.0, 1.0])
def test_of_equals_the_decoders_first(risk):
    hypotheses = [texts("a", -1, -1), texts("b", -1, -1)]
    assert choose_hypothesis(hypotheses, RescoringWeights(risk=risk)).text == "A"
