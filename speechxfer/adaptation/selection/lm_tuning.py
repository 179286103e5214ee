"""Tuning of CTC beam search: the language model weights with the fewest dev errors, on emissions computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from speechxfer.scoring.tokens import tokenize
from speechxfer.shapes import Emissions, Frames
from speechxfer.text.normalise import get_normaliser

# Small grids, since dev splits are small; the first value is preferred among equals.
LM_WEIGHT_GRID = (0.5, 0.7, 1.0, 0.3, 1.4)
LM_WORD_BONUS_GRID = (0.0, 1.0, 2.0, 3.0)
MAX_TUNING_UTTERANCES = 500  # taken evenly from dev


def tune_beam_search(model: CtcRecogniser, evaluator: Evaluator) -> dict[str, Any] | None:
    """Set the weights in `model.settings.beam_search` that the recipe leaves open to those with the fewest dev errors.

    Beam search that is worse than greedy is switched off, unless the recipe has hot words, which dev may not contain.

    Returns:
        The search options and the dev error rates with them (`dev`) and with greedy decoding (`dev_greedy`) for the
        report, or `None` if the model decodes greedily.
    """
    if model.settings.beam_size == 1:
        return None
    emissions = _compute_dev_emissions(model, evaluator)
    split, references = _make_split(evaluator), list(evaluator.splits.dev[evaluator.splits.reference])
    step = -(-len(references) // MAX_TUNING_UTTERANCES)
    search, rate = distributed.run_on_main(
        lambda: _tune_on_sample(model, evaluator, emissions[::step], references[::step])
    )
    stated = asdict(search) | {"hot_words": list(search.hot_words)}
    model.settings.beam_search = {name: value for name, value in stated.items() if name != "beam_size"}
    if step > 1:
        beam = BeamSearch(model.labels, model.lm, search)
        texts = distributed.run_on_main(lambda: [rows[0].text for rows in beam.search_rows(emissions)])
        rate = _compute_error_rate(texts, references, split)
    greedy = _compute_error_rate([_decode_greedy_text(model, rows) for rows in emissions], references, split)
    evaluator.reporter.info(f"greedy: dev {greedy:.1%}; beam size {search.beam_size}: {rate:.1%}")
    if rate > greedy and not search.hot_words:
        model.settings.beam_size = 1
        evaluator.reporter.info("beam search is worse than greedy: the model decodes greedily")
    return {**stated, "dev": rate, "dev_greedy": greedy}


def tune_lm_weights(
    emissions: Sequence[np.ndarray],
    references: Sequence[str],
    symbols: Sequence[str | None],
    lm: LanguageModel | None,
    search: BeamSearchOptions,
    split: Callable[[str], list[str]],
    *,
    lm_weights: Sequence[float] = LM_WEIGHT_GRID,
    word_bonuses: Sequence[float] = LM_WORD_BONUS_GRID,
) -> tuple[BeamSearchOptions, float]:
    """Return `search` with the weights that give the fewest errors (the first among equals), and its error rate.

    Args:
        emissions: log-probabilities of each utterance, (frames, vocab).
        references: texts.
        lm: without a language model nothing is tuned.
        split: normalises a text and splits it into the units of the error rate.
    """
    grid = [search]
    if lm is not None:
        pairs = product(lm_weights, word_bonuses)
        grid = [replace(search, lm_weight=weight, word_bonus=bonus) for weight, bonus in pairs]
    rates = []
    for options in grid:
        n_best = BeamSearch(symbols, lm, options).search_rows(emissions)
        rates.append(_compute_error_rate([rows[0].text for rows in n_best], references, split))
    best = rates.index(min(rates))
    return grid[best], rates[best]


def _make_split(evaluator: Evaluator) -> Callable[[str], list[str]]:
    """Return the function that normalises a text and splits it as the run's scoring does."""
    normalise, unit = get_normaliser(evaluator.recipe.scoring.normaliser), evaluator.splits.unit
    return lambda text: tokenize(normalise(text), unit)


def _compute_dev_emissions(model: CtcRecogniser, evaluator: Evaluator) -> list[np.ndarray]:
    """Return the log-probabilities of each dev utterance, (frames, vocab)."""

    def to_rows(frames: Frames) -> list[np.ndarray]:
        return [row.numpy().copy() for row in model.compute_emissions(frames).split_rows()]

    with evaluator.reporter.progress("emissions, dev") as progress:
        return predict_all(
            model,
            evaluator.splits.dev,
            fn=lambda waveforms: model.infer(waveforms, to_rows),
            batch_seconds=evaluator.recipe.decoding.batch_seconds,
            progress=progress,
            shared=True,
        )


def _tune_on_sample(
    model: CtcRecogniser, evaluator: Evaluator, emissions: Sequence[np.ndarray], references: Sequence[str]
) -> tuple[BeamSearchOptions, float]:
    decoding = evaluator.recipe.decoding
    return tune_lm_weights(
        emissions,
        references,
        model.labels,
        model.lm,
        model.search_options,
        _make_split(evaluator),
        lm_weights=LM_WEIGHT_GRID if decoding.lm_weight is None else (decoding.lm_weight,),
        word_bonuses=LM_WORD_BONUS_GRID if decoding.word_bonus is None else (decoding.word_bonus,),
    )


def _compute_error_rate(
    hypotheses: Sequence[str], references: Sequence[str], split: Callable[[str], list[str]]
) -> float:
    """Return the errors divided by the units of the references."""
    pairs = [(split(hyp), split(ref)) for hyp, ref in zip(hypotheses, references, strict=True)]
    return sum(Levenshtein.distance(*pair) for pair in pairs) / max(1, sum(len(ref) for _, ref in pairs))


def _decode_greedy_text(model: CtcRecogniser, rows: np.ndarray) -> str:
    batch = Emissions(torch.from_numpy(rows)[None], torch.tensor([len(rows)]))
    return model.decode_ids(decode_greedy(batch, model.blank)[0])
