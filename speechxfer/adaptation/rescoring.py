"""How much the CTC head's word counts beside the decoder's: chosen on the dev part's hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from rapidfuzz.distance import Levenshtein

from speechxfer.adaptation.judge import Judge
from speechxfer.decoding.hybrid import Hypothesis, Rescoring, choose
from speechxfer.models import answers
from speechxfer.models.joint import JointRecogniser
from speechxfer.text.normalise import get_normaliser

# Few values, the plainest first: dev parts are small, and of equals the first is taken.
CTC = (0.3, 0.2, 0.4, 0.1, 0.5, 0.0)
WORD = (0.0, 0.5, 1.0)
RISK = (0.0, 0.5, 0.25, 0.1)


def choose_rescoring(model: JointRecogniser, judge: Judge) -> dict[str, Any] | None:
    """Set `model.settings.rescoring` to what makes the fewest errors on dev; None for a model that decodes greedily.

    Returns what the report says of it: the weights, and the dev error rates with them and by the decoder alone.
    """
    if model.settings.beams == 1:
        return None
    dev = judge.material.dev
    with judge.narrator.bar("hypotheses, dev") as progress:
        found: list[list[Hypothesis]] = answers(
            model,
            dev,
            ask=lambda waveforms: model.listen(waveforms, model.hypotheses),
            batch_seconds=judge.recipe.decoding.batch_seconds,
            progress=progress,
            shared=True,
        )
    normalise = get_normaliser(judge.recipe.scoring.normaliser)
    references = [tuple(normalise(text).split()) for text in dev[judge.material.reference]]
    words = sum(map(len, references))
    settings = [Rescoring(*values) for values in product(CTC, WORD, RISK)]
    best = min(settings, key=lambda weights: errors(found, references, weights))
    alone = errors(found, references, Rescoring(ctc=0.0)) / words
    dev_rate = errors(found, references, best) / words
    model.settings.rescoring = asdict(best)
    judge.narrator.say(f"beam {model.settings.beams}: dev {alone:.1%}; weighed with the CTC head {dev_rate:.1%}")
    return {**asdict(best), "dev": dev_rate, "dev_by_the_decoder_alone": alone}


def errors(found: Sequence[Sequence[Hypothesis]], references: Sequence[tuple[str, ...]], weights: Rescoring) -> int:
    """Word errors of the hypotheses that `weights` choose."""
    return sum(
        Levenshtein.distance(choose(hypotheses, weights).words, reference)
        for hypotheses, reference in zip(found, references, strict=True)
    )
