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


def choose_rescoring(model: JointRecogniser, judge: Judge, greedy: float) -> dict[str, Any] | None:
    """Set `model.settings.rescoring` to what makes the fewest errors on dev; None where the model decodes greedily.

    greedy: its error rate on dev so. A beam that errs more even when it is weighed is not used; one that erred more by
    the decoder alone may be saved by the CTC head. Returns what the report says: the weights, and the dev error rates
    with them and by the decoder alone.
    """
    decoding, dev = judge.recipe.decoding, judge.material.dev
    if decoding.kind != "beam":
        return None
    model.settings.beams = decoding.beams
    with judge.narrator.bar("hypotheses, dev") as progress:
        found: list[list[Hypothesis]] = answers(
            model,
            dev,
            ask=lambda waveforms: model.listen(waveforms, model.hypotheses),
            batch_seconds=decoding.batch_seconds,
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
    judge.narrator.say(f"beam {decoding.beams}: dev {alone:.1%}; weighed with the CTC head {dev_rate:.1%}")
    if dev_rate > greedy:
        model.settings.beams = 1
        judge.narrator.say("the weighed beam errs more: the model decodes greedily")
        return None
    model.settings.rescoring = asdict(best)
    return {**asdict(best), "dev": dev_rate, "dev_by_the_decoder_alone": alone}


def errors(found: Sequence[Sequence[Hypothesis]], references: Sequence[tuple[str, ...]], weights: Rescoring) -> int:
    """Word errors of the hypotheses that `weights` choose."""
    return sum(
        Levenshtein.distance(choose(hypotheses, weights).words, reference)
        for hypotheses, reference in zip(found, references, strict=True)
    )
