"""Tuning of joint CTC/attention rescoring: the weights with the fewest dev errors (Watanabe et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from rapidfuzz.distance import Levenshtein

from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.decoding.rescoring import DecoderHypothesis, RescoringWeights, choose_hypothesis
from speechxfer.models import predict_all
from speechxfer.models.joint import JointRecogniser
from speechxfer.scoring.tokens import tokenize
from speechxfer.text.normalise import get_normaliser

# Small grids, since dev splits are small; the first value is preferred among equals.
CTC_WEIGHTS = (0.3, 0.2, 0.4, 0.1, 0.5, 0.0)
WORD_BONUS_GRID = (0.0, 0.5, 1.0)
MBR_SCALES = (0.0, 0.5, 0.25, 0.1)


def tune_rescoring(model: JointRecogniser, evaluator: Evaluator, greedy: float) -> dict[str, Any] | None:
    """Set `model.settings.rescoring` to the weights with the fewest word errors on dev.

    Beam search that is worse than greedy even after rescoring is switched off.

    Args:
        greedy: the model's dev error rate with greedy decoding.

    Returns:
        The weights and the dev error rates with them (`dev`) and with the decoder alone (`dev_decoder_only`) for the
        report, or `None` if the model decodes greedily.
    """
    decoding, dev, reporter = evaluator.recipe.decoding, evaluator.splits.dev, evaluator.reporter
    if decoding.kind != "beam":
        return None
    model.settings.beam_size = decoding.beam_size
    with reporter.progress("hypotheses, dev") as progress:
        hypotheses: list[list[DecoderHypothesis]] = predict_all(
            model,
            dev,
            fn=lambda waveforms: model.infer(waveforms, model.list_hypotheses),
            batch_seconds=decoding.batch_seconds,
            progress=progress,
            shared=True,
        )
    normalise = get_normaliser(evaluator.recipe.scoring.normaliser)
    unit = evaluator.splits.unit
    references = [tuple(tokenize(normalise(text), unit)) for text in dev[evaluator.splits.reference]]
    num_words = sum(map(len, references))
    grid = [RescoringWeights(*values) for values in product(CTC_WEIGHTS, WORD_BONUS_GRID, MBR_SCALES)]
    best = min(grid, key=lambda weights: count_word_errors(hypotheses, references, weights))
    decoder_only = count_word_errors(hypotheses, references, RescoringWeights(ctc=0.0)) / num_words
    rate = count_word_errors(hypotheses, references, best) / num_words
    reporter.info(
        f"beam size {decoding.beam_size}: dev {decoder_only:.1%}, {rate:.1%} after rescoring with the CTC head"
    )
    if rate > greedy:
        model.settings.beam_size = 1
        reporter.info("beam search with rescoring is worse than greedy: the model decodes greedily")
        return None
    model.settings.rescoring = asdict(best)
    return {**asdict(best), "dev": rate, "dev_decoder_only": decoder_only}


def count_word_errors(
    hypotheses: Sequence[Sequence[DecoderHypothesis]], references: Sequence[tuple[str, ...]], weights: RescoringWeights
) -> int:
    """Count the word errors of the hypotheses that `weights` select, one list of hypotheses an utterance."""
    return sum(
        Levenshtein.distance(choose_hypothesis(n_best, weights).words, reference)
        for n_best, reference in zip(hypotheses, references, strict=True)
    )
