"""One model in several threads: each call has its own options, and none of them stay."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from speechxfer.errors import UserError
from speechxfer.export.exporter import export_model
from speechxfer.models import DecodingOptions, load
from speechxfer.models.decoding_options import apply_decoding
from speechxfer.models.transcribe import transcribe
from speechxfer.text.ngram import train_ngram

ROUNDS = 4  # calls with each options


def check_threads(model, rows, choices: list[DecodingOptions]) -> list[list[str]]:
    """Compare calls of several threads with the same calls one after another, and return the texts of each options."""

    def run(options: DecodingOptions) -> list[str]:
        return [one.text for one in transcribe(model, rows, decoding=options)]

    settings, padded = model.settings.model_dump(), getattr(model.encoder, "pad_to_30s", None)
    alone = [run(options) for options in choices]
    with ThreadPoolExecutor(len(choices)) as pool:
        together = list(pool.map(run, choices * ROUNDS))
    assert together == alone * ROUNDS
    assert model.settings.model_dump() == settings and getattr(model.encoder, "pad_to_30s", None) == padded
    assert run(choices[0]) == alone[0]
    return alone


def test_whisper(two_second_whisper, few_rows):
    choices = [
        DecodingOptions(),
        DecodingOptions(beam_size=4),
        DecodingOptions(pad_to_30s=False),
        DecodingOptions(beam_size=3, pad_to_30s=False),
    ]
    texts = check_threads(load(two_second_whisper, device="cpu"), few_rows, choices)
    assert len({tuple(each) for each in texts}) >= 3


def test_whisper_in_ctranslate2(taught, few_rows, tmp_path):
    pytest.importorskip("ctranslate2", reason="the extra 'export' is not installed")
    model = load(export_model(taught, "ctranslate2", tmp_path / "out").output, device="cpu")
    choices = [DecodingOptions(pad_to_30s=padded, beam_size=beams) for padded in (False, True) for beams in (1, 4)]
    check_threads(model, few_rows, choices)


def test_languages(make_whisper, few_rows):
    model = load(make_whisper(seconds=2, multilingual=True, seed=6), device="cpu", language="en")
    choices = [DecodingOptions(language=code) for code in ("en", "de", "zh")]
    texts = check_threads(model, few_rows, choices)
    assert len({tuple(each) for each in texts}) == 3
    assert model.prompt == load(make_whisper(seconds=2, multilingual=True, seed=6), device="cpu", language="en").prompt


def test_a_ctc_head(make_encoder, few_rows, tmp_path):
    pytest.importorskip("ctc_beam_decoder", reason="the extra 'lm' is not installed")
    train_ngram(["one two six", "two one"], 2).write(tmp_path / "lm.arpa")
    choices = [
        DecodingOptions(),
        DecodingOptions(beam_size=5),
        DecodingOptions(hot_words=["six"]),
        DecodingOptions(lm=tmp_path / "lm.arpa", beam_size=8),
    ]
    texts = check_threads(load(make_encoder("wav2vec2", words="one two six"), device="cpu"), few_rows, choices)
    assert len({tuple(each) for each in texts}) >= 3


def test_the_language_of_a_model_without_languages_cannot_be_changed(make_encoder):
    model = load(make_encoder("wav2vec2", words="one two six"), device="cpu", language="en")
    assert apply_decoding(model, DecodingOptions(language="en")) is model
    with pytest.raises(UserError, match="keeps its language"):
        apply_decoding(model, DecodingOptions(language="de"))
