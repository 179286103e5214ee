"""Decoding options for one call: they change the predictions, and leave the model as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import speechxfer
import speechxfer.models
from speechxfer.cli import build_app
from speechxfer.data import audio
from speechxfer.data.reader import read
from speechxfer.decoding.ctc_beam import DEFAULT_LM_WEIGHT, BeamSearch, BeamSearchOptions, read_lm
from speechxfer.errors import UserError
from speechxfer.models import (
    load,
)
from speechxfer.models.decoding_options import DecodingOptions, apply_decoding
from speechxfer.models.transcribe import transcribe
from speechxfer.text.ngram import train_ngram

pytest.importorskip("ctc_beam_decoder", reason="the extra 'lm' is not installed")


@pytest.fixture
def ctc(make_encoder):
    return make_encoder("wav2vec2", words="one two six")


@pytest.fixture
def arpa(tmp_path):
    train_ngram(["one two six", "two one"], 2).write(tmp_path / "lm.arpa")
    return tmp_path / "lm.arpa"


def search_alone(model, table, lm, search) -> list[str]:
    """Search the emissions of each utterance alone."""
    rows: list[np.ndarray] = []
    for row in read(table):
        rows += model.infer(
            [audio.load_waveform(row)], lambda frames: [r.numpy() for r in model.compute_emissions(frames).split_rows()]
        )
    return [found[0].text for found in BeamSearch(model.labels, lm, search).search_rows(rows)]


def test_hot_words_and_a_language_model_for_one_call(ctc, corpus_table, arpa):
    model = load(ctc, device="cpu")
    before = model.settings.model_dump()
    plain = [one.text for one in transcribe(model, corpus_table)]
    hot = [one.text for one in transcribe(model, corpus_table, decoding=DecodingOptions(hot_words=["Two"]))]
    assert (
        hot
        == search_alone(model, corpus_table, None, BeamSearchOptions(50, hot_words=("two",), hot_word_weight=10.0))
        != plain
    )
    both = [
        one.text
        for one in transcribe(model, corpus_table, decoding=DecodingOptions(lm=arpa, hot_words=["six"], beam_size=8))
    ]
    search = BeamSearchOptions(8, DEFAULT_LM_WEIGHT, 0.0, ("six",), 10.0)
    assert both == search_alone(model, corpus_table, read_lm(arpa), search) != hot
    assert model.settings.model_dump() == before and model.lm is None
    assert speechxfer.evaluate(model, corpus_table, decoding=DecodingOptions(hot_words=["Two"])).hypotheses == hot
    assert [one.text for one in transcribe(model, corpus_table)] == plain


def test_saved_weights_are_kept(ctc, arpa):
    model = load(ctc, device="cpu")
    model.settings.beam_size = 7
    model.settings.beam_search = {"lm_weight": 0.9, "word_bonus": 2.0, "hot_words": ["one"], "hot_word_weight": 3.0}
    with_lm = apply_decoding(model, DecodingOptions(lm=arpa))
    assert with_lm.search_options == BeamSearchOptions(7, 0.9, 2.0, ("one",), 3.0) and with_lm.lm.path == arpa
    with_hot_words = apply_decoding(model, DecodingOptions(hot_words=["six"]))
    assert with_hot_words.search_options == BeamSearchOptions(7, 0.9, 2.0, ("six",), 3.0)
    assert model.lm is None and model.search_options.hot_words == ("one",)


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"hot_words": ["naïve"]}, "hot word 'naïve' has"),
        ({"lm": "nowhere.arpa"}, "no such language model"),
        ({"hot_words": ["one"], "beam_size": 1}, "needs a beam search"),
    ],
)
def test_unusable_options_are_errors_and_change_nothing(ctc, asked, message):
    model = load(ctc, device="cpu")
    before = model.settings.model_dump()
    with pytest.raises(UserError, match=message):
        apply_decoding(model, DecodingOptions(**asked))
    assert model.settings.model_dump() == before and model.lm is None


def test_the_commands_have_these_options(ctc, tiny_whisper, corpus_table, arpa, tmp_path):
    def run(command: str, *words: object, code: int = 0) -> str:
        done = CliRunner().invoke(build_app(), [command, *map(str, words), "--device", "cpu"])
        assert done.exit_code == code, done.output
        return done.stderr

    texts = tmp_path / "said.jsonl"
    search = ("--lm", arpa, "--hot-word", "two", "--hot-word", "six")
    run("transcribe", ctc, corpus_table, *search, "--output", texts, "--json", tmp_path / "t.json")
    run("evaluate", ctc, corpus_table, *search, "--output", tmp_path / "report")
    files = (texts, tmp_path / "report/after.jsonl")
    lines = [[json.loads(line)["hypothesis"] for line in path.open()] for path in files]
    model = load(ctc, device="cpu")
    expected = search_alone(
        model, corpus_table, read_lm(arpa), BeamSearchOptions(50, DEFAULT_LM_WEIGHT, 0.0, ("two", "six"), 10.0)
    )
    assert lines == [expected, expected]
    for stated in (tmp_path / "t.json", tmp_path / "report/report.json"):
        options = json.loads(stated.read_text())["provenance"]["options"]
        assert (options["lm"], options["hot_words"]) == ("lm.arpa", ["two", "six"])
    assert "needs a model with a CTC head" in run("transcribe", tiny_whisper, corpus_table, "--hot-word", "two", code=2)


def test_the_beam_size_applies_to_one_call(two_second_whisper, few_rows):
    model = load(two_second_whisper, device="cpu")
    greedy = transcribe(model, few_rows)
    wide = transcribe(model, few_rows, decoding=DecodingOptions(beam_size=4, pad_to_30s=False))
    assert [one.text for one in greedy] != [one.text for one in wide]
    assert model.settings.beam_size == 1 and model.encoder.pad_to_30s is True


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"beam_size": 2}, "a classifier has no beam search"),
        ({"lm": "lm.arpa"}, r"lm \(--lm\): needs a model with a CTC head, and this model is of kind classify"),
        ({"pad_to_30s": False}, "only Whisper pads its input, and this encoder is wav2vec2"),
    ],
)
def test_options_that_the_model_does_not_have(make_encoder, asked, message):
    model = load(make_encoder("wav2vec2", labels=["one", "two"]), device="cpu")
    with pytest.raises(UserError, match=message):
        apply_decoding(model, DecodingOptions(**asked))
