"""How much a language model counts beside a CTC head: chosen on the dev part's emissions, which are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from speechxfer import processes
from speechxfer.adaptation.judge import Judge
from speechxfer.decoding.ctc import best_path
from speechxfer.decoding.ctc_beam import BeamSearch, LanguageModel, Search
from speechxfer.models import answers
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.shapes import Emissions, Frames
from speechxfer.text.normalise import Normaliser, get_normaliser

# Few values, the plainest first: dev parts are small, and of equals the first is taken.
LM_WEIGHTS = (0.5, 0.7, 1.0, 0.3, 1.4)
WORD_BONUSES = (0.0, 1.0, 2.0, 3.0)
MOST = 500  # utterances that the weights are chosen by, evenly from the dev part


def choose_search(model: CtcRecogniser, judge: Judge) -> dict[str, Any] | None:
    """Set the weights in `model.settings.search` that the recipe leaves open to what makes the fewest errors on dev.

    A search that errs more than the best path is not used: the model then decodes greedily, unless the recipe names hot
    words, of which dev may hold none. None for a model that decodes greedily. Returns what the report says of it: the
    search, and the dev part's error rates with it (`dev`) and by the best path (`dev_greedy`).
    """
    if model.settings.beams == 1:
        return None
    decoding, dev = judge.recipe.decoding, judge.material.dev
    with judge.narrator.bar("emissions, dev") as progress:
        emissions: list[np.ndarray] = answers(
            model,
            dev,
            ask=lambda waveforms: model.listen(waveforms, lambda frames: _emissions(model, frames)),
            batch_seconds=decoding.batch_seconds,
            progress=progress,
            shared=True,
        )
    normalise = get_normaliser(judge.recipe.scoring.normaliser)
    references = [normalise(text) for text in dev[judge.material.reference]]
    step = -(-len(dev) // MOST)

    def tuned() -> tuple[Search, float]:
        return tune(
            emissions[::step],
            references[::step],
            model.symbols,
            model.lm,
            model.search,
            normalise,
            lm_weights=LM_WEIGHTS if decoding.lm_weight is None else (decoding.lm_weight,),
            word_bonuses=WORD_BONUSES if decoding.word_bonus is None else (decoding.word_bonus,),
        )

    search, dev_rate = processes.by_main(tuned)
    stated = asdict(search) | {"hot_words": list(search.hot_words)}
    model.settings.search = {name: value for name, value in stated.items() if name != "beams"}
    if step > 1:
        beam = BeamSearch(model.symbols, model.lm, search)
        found = processes.by_main(lambda: [normalise(rows[0].text) for rows in beam.each(emissions)])
        dev_rate = _rate(found, references)
    alone = _rate([normalise(_best_text(model, rows)) for rows in emissions], references)
    judge.narrator.say(f"best path: dev {alone:.1%}; beam {search.beams}: {dev_rate:.1%}")
    if dev_rate > alone and not search.hot_words:
        model.settings.beams = 1
        judge.narrator.say("the beam errs more: the model decodes by the best path")
    return {**stated, "dev": dev_rate, "dev_greedy": alone}


def tune(
    emissions: Sequence[np.ndarray],
    references: Sequence[str],
    symbols: Sequence[str | None],
    lm: LanguageModel | None,
    search: Search,
    normalise: Normaliser,
    *,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    word_bonuses: Sequence[float] = WORD_BONUSES,
) -> tuple[Search, float]:
    """The search with the weights that make the fewest word errors, of equals the first, and its error rate.

    emissions: (frames, vocab) log-probabilities of each utterance. references: normalised. Without a language model
    nothing is chosen.
    """
    grid = [search]
    if lm is not None:
        pairs = product(lm_weights, word_bonuses)
        grid = [replace(search, lm_weight=weight, word_bonus=bonus) for weight, bonus in pairs]
    rates = []
    for one in grid:
        found = BeamSearch(symbols, lm, one).each(emissions)
        rates.append(_rate([normalise(rows[0].text) for rows in found], references))
    best = rates.index(min(rates))
    return grid[best], rates[best]


def _rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Word errors over the references' words."""
    pairs = [(said.split(), meant.split()) for said, meant in zip(hypotheses, references, strict=True)]
    return sum(Levenshtein.distance(*pair) for pair in pairs) / max(1, sum(len(meant) for _, meant in pairs))


def _best_text(model: CtcRecogniser, rows: np.ndarray) -> str:
    whole = Emissions(torch.from_numpy(rows)[None], torch.tensor([len(rows)]))
    return model.text(best_path(whole, model.blank)[0])


def _emissions(model: CtcRecogniser, frames: Frames) -> list[np.ndarray]:
    return [row.numpy().copy() for row in model.emissions(frames).rows()]
