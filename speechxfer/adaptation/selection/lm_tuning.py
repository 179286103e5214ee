"""How much a language model counts beside a CTC head: chosen on the dev part's emissions, which are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from speechxfer import distributed
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.decoding.ctc_beam import BeamSearch, BeamSearchOptions, LanguageModel
from speechxfer.decoding.ctc_greedy import decode_greedy
from speechxfer.models import predict_all
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.shapes import Emissions, Frames
from speechxfer.text.normalise import Normaliser, get_normaliser

# Few values, the plainest first: dev parts are small, and of equals the first is taken.
LM_WEIGHT_GRID = (0.5, 0.7, 1.0, 0.3, 1.4)
LM_WORD_BONUS_GRID = (0.0, 1.0, 2.0, 3.0)
MAX_TUNING_UTTERANCES = 500  # utterances that the weights are chosen by, evenly from the dev part


def tune_beam_search(model: CtcRecogniser, judge: Evaluator) -> dict[str, Any] | None:
    """Set the weights in `model.settings.search` that the recipe leaves open to what makes the fewest errors on dev.

    A search that errs more than the best path is not used: the model then decodes greedily, unless the recipe names hot
    words, of which dev may hold none. None for a model that decodes greedily. Returns what the report says of it: the
    search, and the dev part's error rates with it (`dev`) and by the best path (`dev_greedy`).
    """
    if model.settings.beam_size == 1:
        return None
    decoding, dev = judge.recipe.decoding, judge.splits.dev
    with judge.reporter.progress("emissions, dev") as progress:
        emissions: list[np.ndarray] = predict_all(
            model,
            dev,
            ask=lambda waveforms: model.infer(waveforms, lambda frames: _emissions(model, frames)),
            batch_seconds=decoding.batch_seconds,
            progress=progress,
            shared=True,
        )
    normalise = get_normaliser(judge.recipe.scoring.normaliser)
    references = [normalise(text) for text in dev[judge.splits.reference]]
    step = -(-len(dev) // MAX_TUNING_UTTERANCES)

    def tuned() -> tuple[BeamSearchOptions, float]:
        return tune_lm_weights(
            emissions[::step],
            references[::step],
            model.labels,
            model.lm,
            model.search_options,
            normalise,
            lm_weights=LM_WEIGHT_GRID if decoding.lm_weight is None else (decoding.lm_weight,),
            word_bonuses=LM_WORD_BONUS_GRID if decoding.word_bonus is None else (decoding.word_bonus,),
        )

    search, dev_rate = distributed.run_on_main(tuned)
    stated = asdict(search) | {"hot_words": list(search.hot_words)}
    model.settings.beam_search = {name: value for name, value in stated.items() if name != "beams"}
    if step > 1:
        beam = BeamSearch(model.labels, model.lm, search)
        found = distributed.run_on_main(lambda: [normalise(rows[0].text) for rows in beam.search_rows(emissions)])
        dev_rate = _word_error_rate(found, references)
    alone = _word_error_rate([normalise(_best_text(model, rows)) for rows in emissions], references)
    judge.reporter.info(f"best path: dev {alone:.1%}; beam {search.beam_size}: {dev_rate:.1%}")
    if dev_rate > alone and not search.hot_words:
        model.settings.beam_size = 1
        judge.reporter.info("the beam errs more: the model decodes by the best path")
    return {**stated, "dev": dev_rate, "dev_greedy": alone}


def tune_lm_weights(
    emissions: Sequence[np.ndarray],
    references: Sequence[str],
    symbols: Sequence[str | None],
    lm: LanguageModel | None,
    search: BeamSearchOptions,
    normalise: Normaliser,
    *,
    lm_weights: Sequence[float] = LM_WEIGHT_GRID,
    word_bonuses: Sequence[float] = LM_WORD_BONUS_GRID,
) -> tuple[BeamSearchOptions, float]:
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
        found = BeamSearch(symbols, lm, one).search_rows(emissions)
        rates.append(_word_error_rate([normalise(rows[0].text) for rows in found], references))
    best = rates.index(min(rates))
    return grid[best], rates[best]


def _word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Word errors over the references' words."""
    pairs = [(said.split(), meant.split()) for said, meant in zip(hypotheses, references, strict=True)]
    return sum(Levenshtein.distance(*pair) for pair in pairs) / max(1, sum(len(meant) for _, meant in pairs))


def _best_text(model: CtcRecogniser, rows: np.ndarray) -> str:
    whole = Emissions(torch.from_numpy(rows)[None], torch.tensor([len(rows)]))
    return model.decode_ids(decode_greedy(whole, model.blank)[0])


def _emissions(model: CtcRecogniser, frames: Frames) -> list[np.ndarray]:
    return [row.numpy().copy() for row in model.compute_emissions(frames).split_rows()]
