"""The weights of a language model are those that make the fewest errors on dev, and a saved model has it beside it."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

pytest.importorskip("ctc_beam_decoder", reason="the extra 'lm' is not installed")

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.selection.lm_tuning import LM_WEIGHT_GRID, LM_WORD_BONUS_GRID, tune_lm_weights
from speechxfer.data.audio import load_waveform as load_audio
from speechxfer.data.reader import read
from speechxfer.decoding.ctc_beam import BeamSearch, BeamSearchOptions, read_lm
from speechxfer.errors import UserError
from speechxfer.models import build_trainable, load
from speechxfer.text.ngram import train_ngram

SYMBOLS = ("", " ", "a", "b", "c")
TEXTS = ("a b c", "ab c", "cab ab", "b a", "c b a", "ab ab a")


@pytest.fixture
def noisy():
    """Emissions that say the texts under so much noise that the best path errs."""
    chance = np.random.default_rng(0)
    found = []
    for text in TEXTS * 3:
        rows = []
        for symbol in text:
            for place in (SYMBOLS.index(symbol), 0):
                logits = chance.normal(0, 1.4, len(SYMBOLS))
                logits[place] += 2.5
                rows.append(logits - np.log(np.exp(logits).sum()))
        found.append(np.array(rows, dtype=np.float32))
    return found


def errors(emissions, lm, search):
    hypotheses = [rows[0].text for rows in BeamSearch(SYMBOLS, lm, search).search_rows(emissions)]
    return sum(Levenshtein.distance(h.split(), r.split()) for h, r in zip(hypotheses, TEXTS * 3, strict=True))


def test_no_other_weights_of_the_grid_err_less(noisy, tmp_path):
    train_ngram(TEXTS, 2).write(tmp_path / "lm.arpa")
    lm, plain = read_lm(tmp_path / "lm.arpa"), BeamSearchOptions(beam_size=20)
    found, rate = tune_lm_weights(noisy, TEXTS * 3, SYMBOLS, lm, plain, str.split)
    every = [errors(noisy, lm, BeamSearchOptions(20, *pair)) for pair in product(LM_WEIGHT_GRID, LM_WORD_BONUS_GRID)]
    assert errors(noisy, lm, found) == min(every) < max(every)
    assert min(every) < errors(noisy, None, plain)  # the model helps here
    assert rate == pytest.approx(min(every) / sum(len(text.split()) for text in TEXTS * 3))


def test_what_a_recipe_states_is_not_chosen_and_without_a_model_nothing_is(noisy, tmp_path):
    train_ngram(TEXTS, 2).write(tmp_path / "lm.arpa")
    options = {"lm_weights": (0.9,), "word_bonuses": (-1.0,)}
    stated = BeamSearchOptions(20, hot_words=("cab",), hot_word_weight=2.0)
    found, _ = tune_lm_weights(noisy, TEXTS * 3, SYMBOLS, read_lm(tmp_path / "lm.arpa"), stated, str.split, **options)
    assert found == BeamSearchOptions(20, 0.9, -1.0, ("cab",), 2.0)
    assert tune_lm_weights(noisy, TEXTS * 3, SYMBOLS, None, stated, str.split)[0] == stated


BEAMS = ("head.kind=ctc", "decoding.kind=beam", "decoding.beam_size=12", "decoding.lm=from-train", "stages.0.epochs=1")


def test_a_run_keeps_its_language_model_beside_the_model(tiny_recipe, corpus_table):
    run = adapt(tiny_recipe(*BEAMS, "decoding.lm_order=2", "decoding.hot_words=[Six]"))
    report, folder = run.report.to_json(), run.run_dir
    search = report["search"]
    assert search["beam_size"] == 12 and search["hot_words"] == ["six"] and search["lm_weight"] in LM_WEIGHT_GRID
    assert {"dev", "dev_greedy"} <= set(search)
    assert any(one["name"].endswith(", beam") and one["dev"] == search["dev"] for one in report["candidates"])
    where = folder.model if report["selected"].endswith("beam") else folder.checkpoints / "rejected"
    stored = json.loads((where / "speechxfer.json").read_text())
    assert stored["beams"] == 12 and stored["lm"] == "lm.arpa" and stored["search"]["hot_words"] == ["six"]
    assert (where / "lm.arpa").read_text().startswith("\\data\\\nngram 1=6\n")  # <s>, </s>, <unk>, three words

    model = load(where, device="cpu")
    waveforms = [load_audio(row) for row in read(corpus_table)]
    texts = model.predict(waveforms)
    assert texts == [model.predict([one])[0] for one in waveforms]
    model.save(folder.path / "copy")  # and once more into where it came from
    model.save(where)
    for again in (folder.path / "copy", where):
        assert load(again, device="cpu").predict(waveforms) == texts
    model.settings.beam_size = 1
    greedy = model.predict(waveforms)
    model.lm = model.settings.beam_search = None
    assert model.predict(waveforms) == greedy

    (where / "lm.arpa").unlink()
    with pytest.raises(UserError, match="no such language model"):
        load(where)


@pytest.mark.parametrize("hot_words, beams", [("[]", 1), ("[six]", 12)])
def test_a_beam_that_errs_more_than_the_best_path_is_not_used(tiny_recipe, monkeypatch, hot_words, beams):
    from speechxfer.adaptation.selection import lm_tuning

    def worse(emissions, references, symbols, lm, search, *_, **__):
        return search, 9.0

    monkeypatch.setattr(lm_tuning, "tune_lm_weights", worse)
    run = adapt(tiny_recipe(*BEAMS, f"decoding.hot_words={hot_words}"))
    where = (
        run.run_dir.model if run.report.to_json()["selected"] != "zero-shot" else run.run_dir.checkpoints / "rejected"
    )
    assert load(where, device="cpu").settings.beam_size == beams
    assert run.report.to_json()["search"]["dev"] == 9.0 > run.report.to_json()["search"]["dev_greedy"]
    assert any(one["name"].endswith(", beam") for one in run.report.to_json()["candidates"]) == (beams > 1)


@pytest.mark.parametrize(
    "words, message",
    [
        ("decoding.lm=nowhere.arpa", "no such language model"),
        ("decoding.hot_words=[naïve]", "hot word 'naïve' has"),
    ],
)
def test_what_cannot_be_used_is_said_before_any_training(tiny_recipe, words, message):
    recipe = tiny_recipe(*BEAMS, words)
    with pytest.raises(UserError, match=message):
        build_trainable(recipe, ["one", "two", "six"])


def test_a_gzipped_model_is_saved_as_text(tiny_recipe, tmp_path):
    train_ngram(["one two", "six one"], 3).write(tmp_path / "lm.arpa.gz")
    model = build_trainable(tiny_recipe(*BEAMS, f"decoding.lm={tmp_path / 'lm.arpa.gz'}"), ["one", "two", "six"])
    model.save(tmp_path / "model")
    assert (tmp_path / "model/lm.arpa").read_text().startswith("\\data\\")
