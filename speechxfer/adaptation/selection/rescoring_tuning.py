"""How much the CTC head's word counts beside the decoder's: chosen on the dev part's hypotheses."""

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
from speechxfer.text.normalise import get_normaliser

# Few values, the plainest first: dev parts are small, and of equals the first is taken.
CTC_WEIGHTS = (0.3, 0.2, 0.4, 0.1, 0.5, 0.0)
WORD_BONUS_GRID = (0.0, 0.5, 1.0)
MBR_SCALES = (0.0, 0.5, 0.25, 0.1)


def tune_rescoring(model: JointRecogniser, judge: Evaluator, greedy: float) -> dict[str, Any] | None:
    """Set `model.settings.rescoring` to what makes the fewest errors on dev; None where the model decodes greedily.

    greedy: its error rate on dev so. A beam that errs more even when it is weighed is not used; one that erred more by
    the decoder alone may be saved by the CTC head. Returns what the report says: the weights, and the dev error rates
    with them and by the decoder alone.
    """
    decoding, dev = judge.recipe.decoding, judge.splits.dev
    if decoding.kind != "beam":
        return None
    model.settings.beam_size = decoding.beam_size
    with judge.reporter.progress("hypotheses, dev") as progress:
        found: list[list[DecoderHypothesis]] = predict_all(
            model,
            dev,
            ask=lambda waveforms: model.infer(waveforms, model.list_hypotheses),
            batch_seconds=decoding.batch_seconds,
            progress=progress,
            shared=True,
        )
    normalise = get_normaliser(judge.recipe.scoring.normaliser)
    references = [tuple(normalise(text).split()) for text in dev[judge.splits.reference]]
    words = sum(map(len, references))
    settings = [RescoringWeights(*values) for values in product(CTC_WEIGHTS, WORD_BONUS_GRID, MBR_SCALES)]
    best = min(settings, key=lambda weights: count_word_errors(found, references, weights))
    alone = count_word_errors(found, references, RescoringWeights(ctc=0.0)) / words
    dev_rate = count_word_errors(found, references, best) / words
    judge.reporter.info(f"beam {decoding.beam_size}: dev {alone:.1%}; weighed with the CTC head {dev_rate:.1%}")
    if dev_rate > greedy:
        model.settings.beam_size = 1
        judge.reporter.info("the weighed beam errs more: the model decodes greedily")
        return None
    model.settings.rescoring = asdict(best)
    return {**asdict(best), "dev": dev_rate, "dev_by_the_decoder_alone": alone}


def count_word_errors(
    found: Sequence[Sequence[DecoderHypothesis]], references: Sequence[tuple[str, ...]], weights: RescoringWeights
) -> int:
    """Word errors of the hypotheses that `weights` choose."""
    return sum(
        Levenshtein.distance(choose_hypothesis(hypotheses, weights).words, reference)
        for hypotheses, reference in zip(found, references, strict=True)
    )
