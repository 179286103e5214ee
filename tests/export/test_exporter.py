"""Exported folders, opened by the libraries that they are for and compared with the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from speechxfer.data import audio
from speechxfer.encoders.checkpoints import resolve_transformers_dir
from speechxfer.errors import UserError
from speechxfer.export import export_model
from speechxfer.models import load

SAFE = {".json", ".safetensors", ".bin"}  # .bin: CTranslate2's format, checked below


def padded_greedy(folder: Path, waveform: np.ndarray) -> str:
    model = load(folder, device="cpu")
    model.encoder.pad_silence = 0.0
    with model.use_padding():
        return model.predict([waveform])[0]


# -- transformers ----------------------------------------------------------------------------------------------------
def test_the_pipeline_of_transformers_gives_the_same_text(whisper, utterances, tmp_path):
    from transformers import pipeline

    made = export_model(whisper, "transformers", tmp_path / "out", check=utterances)
    assert made.parity.passed and made.parity.largest < 1e-4 and made.parity.frames < 1e-4
    texts = pipeline("automatic-speech-recognition", str(made.output), device="cpu")
    for row in utterances:
        waveform = audio.load_waveform(row)
        # this model has 64 positions; the pipeline's own limit is for 448
        there = texts({"raw": waveform, "sampling_rate": 16_000}, generate_kwargs={"max_new_tokens": 24})
        here = padded_greedy(whisper, waveform)
        assert here and here.startswith(there["text"].strip()[:8])


@pytest.mark.parametrize("kind", ["seq2seq", "joint"])
def test_only_files_that_transformers_knows_are_written(kind, whisper, tmp_path, save_untrained):
    saved = save_untrained("saved", whisper, {"kind": kind})
    made = export_model(saved, "transformers", tmp_path / "out")
    names = set(made.files)
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= names
    assert {"vocab.json", "added_tokens.json"} <= names  # for whisper.cpp's converter
    assert not names & {"speechxfer.json", "ctc_head.safetensors", "ctc_vocabulary.json"}
    assert {Path(name).suffix for name in names} <= SAFE
    assert made.files == {path.name: path.stat().st_size for path in made.output.iterdir()}
    before, after = load_file(saved / "model.safetensors"), load_file(made.output / "model.safetensors")
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)
    assert made.warnings == [
        "the model was adapted with 0.1 s of silence around every utterance, which other libraries do not add"
    ]


def test_beam_size_and_language_are_exported(make_whisper, tmp_path):
    from transformers import GenerationConfig, WhisperTokenizer

    many = make_whisper(seconds=2, multilingual=True)
    export_model(many, "transformers", tmp_path / "out", language="de")
    stated = GenerationConfig.from_pretrained(tmp_path / "out")
    assert (stated.language, stated.task, stated.num_beams) == ("de", "transcribe", 1)
    tokenizer = WhisperTokenizer.from_pretrained(tmp_path / "out")
    padded = tokenizer.pad([{"input_ids": [3, 4]}, {"input_ids": [5]}])  # as a data collator does
    assert padded["input_ids"] == [[3, 4], [5, tokenizer.eos_token_id]]
    saved = load(many, device="cpu", language="zh")
    saved.settings.beam_size, saved.settings.length_penalty = 3, 0.0
    saved.save(tmp_path / "saved")
    plain = GenerationConfig.from_pretrained(tmp_path / "saved")
    assert (plain.language, plain.num_beams, plain.length_penalty) == ("zh", 3, 0.0)
    export_model(tmp_path / "saved", "transformers", tmp_path / "again")
    stated = GenerationConfig.from_pretrained(tmp_path / "again")
    assert (stated.language, stated.num_beams, stated.length_penalty) == ("zh", 3, 0.0)
    saved.settings.beam_size = 1  # transformers refuses to save it for greedy decoding
    saved.save(tmp_path / "greedy")
    assert GenerationConfig.from_pretrained(tmp_path / "greedy").length_penalty in (None, 1.0)


def test_half_precision_is_half_the_file(tiny_whisper, utterances, tmp_path):
    whole = export_model(tiny_whisper, "transformers", tmp_path / "whole")
    half = export_model(tiny_whisper, "transformers", tmp_path / "half", quantization="float16", check=utterances)
    assert half.files["model.safetensors"] < 0.6 * whole.files["model.safetensors"]
    assert half.parity.passed and half.parity.largest > 0
    assert {tensor.dtype for tensor in load_file(half.output / "model.safetensors").values()} == {torch.float16}


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm", "bert"])
def test_a_ctc_head_of_the_wav2vec2_family(family, make_encoder, utterances, tmp_path):
    folder = make_encoder(family, words="one two six")
    made = export_model(folder, "transformers", tmp_path / "out", check=utterances)
    assert made.parity.passed and made.parity.differing == []


def test_a_classifier_with_mean_pooling(make_encoder, utterances, tmp_path):
    folder = make_encoder("hubert", labels=["one", "two", "six"])
    made = export_model(folder, "transformers", tmp_path / "out", check=utterances)
    assert made.parity.passed and made.parity.differing == []


# -- ctranslate2 -----------------------------------------------------------------------------------------------------


def test_faster_whisper_opens_it(whisper, in_ctranslate2, utterances):
    faster_whisper = pytest.importorskip("faster_whisper")
    opened = faster_whisper.WhisperModel(str(in_ctranslate2), device="cpu", local_files_only=True)
    assert opened.feature_extractor.mel_filters.shape[0] == 20  # from this model's preprocessor_config.json
    opened.max_length = 64  # 448 in published checkpoints
    segments, _ = opened.transcribe(
        audio.load_waveform(utterances[0]),
        language="en",
        beam_size=1,
        without_timestamps=True,
        temperature=0.0,
        no_speech_threshold=None,
        max_new_tokens=20,
    )
    assert "".join(segment.text for segment in segments).strip()


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8"])
def test_every_precision_passes_the_check(quantization, whisper, utterances, tmp_path):
    pytest.importorskip("ctranslate2")
    made = export_model(whisper, "ctranslate2", tmp_path / "out", quantization=quantization, check=utterances)
    assert made.parity.utterances == 3
    assert made.parity.passed and (made.parity.frames < 5e-4) == (quantization == "float32")
    assert set(made.files) == {
        "config.json",
        "model.bin",
        "preprocessor_config.json",
        "speechxfer.json",
        "tokenizer.json",
        "vocabulary.json",
    }


def test_our_reader_converts_it_back_without_loss(whisper, tmp_path, monkeypatch):
    pytest.importorskip("ctranslate2")
    from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

    monkeypatch.setenv("SPEECHXFER_CACHE", str(tmp_path / "cache"))
    config = WhisperConfig.from_pretrained(whisper)
    config.d_model, config.encoder_attention_heads, config.decoder_attention_heads = (
        64,
        1,
        1,
    )  # the width of published heads
    network = WhisperForConditionalGeneration(config)
    network.save_pretrained(tmp_path / "wide")
    WhisperProcessor.from_pretrained(whisper).save_pretrained(tmp_path / "wide")
    made = export_model(tmp_path / "wide", "ctranslate2", tmp_path / "out")
    back, before = load(resolve_transformers_dir(made.output), device="cpu").whisper.state_dict(), network.state_dict()
    assert back.keys() == before.keys() and all(before[name].equal(back[name]) for name in before)


# -- mistakes --------------------------------------------------------------------------------------------------------
def test_architectures_of_our_own_are_refused(whisper, tmp_path, save_untrained):
    ctc = save_untrained("ctc", whisper, {"kind": "ctc"})
    with pytest.raises(UserError, match=r"(?s)ctc: a CTC head on Whisper's encoder.*head.kind=seq2seq"):
        export_model(ctc, "transformers", tmp_path / "out")
    attentive = save_untrained("attentive", whisper, {"kind": "classify", "pooling": "attentive"})
    with pytest.raises(UserError, match=r"(?s)attentive pooling.*head.pooling=mean"):
        export_model(attentive, "transformers", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attentive", "ctc"]  # no temporary files


def test_faster_whisper_runs_whisper_only(make_encoder, tmp_path):
    pytest.importorskip("ctranslate2")
    with pytest.raises(UserError, match=r"(?s)this is a Wav2Vec2ForCTC.*--to transformers"):
        export_model(make_encoder("wav2vec2", words="one"), "ctranslate2", tmp_path / "out")


@pytest.mark.parametrize(
    "to, quantization, message",
    [
        ("transformer", "float32", "did you mean 'transformers'"),
        ("transformers", "int8", "is not one of float32, float16, which transformers supports"),
        ("ctranslate2", "int9", "did you mean 'int8'"),
    ],
)
def test_unknown_formats_and_precisions(to, quantization, message, whisper, tmp_path):
    with pytest.raises(UserError, match=message):
        export_model(whisper, to, tmp_path / "out", quantization=quantization)


def test_a_missing_extra_is_named(whisper, tmp_path, monkeypatch):
    monkeypatch.setattr("speechxfer.export.exporter.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"(?s)ctranslate2.*speechxfer\[export\]"):
        export_model(whisper, "ctranslate2", tmp_path / "out")
