"""A CTC or classification model as an ONNX graph, run by ONNX Runtime beside ours and beside plain transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from speechxfer.config import load_recipe
from speechxfer.data.read import read
from speechxfer.errors import UserError
from speechxfer.export import export
from speechxfer.models import load, to_adapt

onnxruntime = pytest.importorskip("onnxruntime")
LENGTHS = (150, 1_700, 16_000, 47_777)  # samples: under one frame, and over what was traced
WHISPER_LONGEST = 2 * 16_000


def adapted(folder: Path, encoder: Path, **recipe) -> Path:
    """A saved model with a new head, not trained."""
    stated = {"encoder": {"name": str(encoder), "silence": 0.1}, "device": "cpu", **recipe}
    torch.manual_seed(1)
    to_adapt(load_recipe({"stages": [{"train": "head", "epochs": 1, "lr": 1}], **stated}), ["one", "two"]).save(folder)
    return folder


def waveform(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def ran(folder: Path, samples: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(["log_probs"], {"samples": samples[None]})[0]


def ours(folder: Path, samples: np.ndarray) -> np.ndarray:
    model = load(folder, device="cpu")
    if model.kind == "ctc":
        return model.listen([samples], lambda frames: model.emissions(frames).log_probs).numpy()
    return model.listen([samples], lambda frames: model.scores(frames).log_softmax(-1)).numpy()


def same(folder: Path, made: Path, lengths=LENGTHS) -> None:
    for samples in lengths:
        here, there = ours(folder, waveform(samples)), ran(made, waveform(samples))
        assert here.shape == there.shape
        assert np.abs(here - there).max() < 1e-4


# -- the same model ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "head",
    [
        {"kind": "ctc"},
        {"kind": "ctc", "recurrent": 2},
        {"kind": "classify", "pooling": "mean"},
        {"kind": "classify", "pooling": "attentive"},
    ],
    ids=lambda head: "-".join(str(value) for value in head.values()),
)
def test_a_head_on_whisper_unpadded_and_in_its_silence(head, tiny_whisper, tmp_path):
    folder = adapted(tmp_path / "saved", tiny_whisper, head=head)
    made = export(folder, "onnx", tmp_path / "out")
    assert made.warnings == [] and set(made.files) == {"model.onnx", "manifest.json"}
    same(folder, made.output, [150, 1_700, 9_999, WHISPER_LONGEST - 3_200])


def test_whisper_padded_where_the_model_is(tiny_whisper, tmp_path):
    folder = adapted(tmp_path / "saved", tiny_whisper, head={"kind": "ctc"})
    settings = folder / "speechxfer.json"
    stated = json.loads(settings.read_text())
    settings.write_text(json.dumps(stated | {"pad_to_30s": True, "silence": 0.0}))
    made = export(folder, "onnx", tmp_path / "out")
    assert ran(made.output, waveform(5_000)).shape[1] == 100  # two seconds are this model's thirty
    same(folder, made.output, [150, 9_999, WHISPER_LONGEST])


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "data2vec", "conformer"])
def test_every_family_that_hears_the_waveform(family, make_encoder, tmp_path):
    folder = make_encoder(family, words="one two six")
    same(folder, export(folder, "onnx", tmp_path / "ctc").output)
    folder = make_encoder(family, labels=["one", "two"])
    same(folder, export(folder, "onnx", tmp_path / "labels").output)


def test_plain_transformers_agrees(make_encoder, tmp_path):
    from transformers import AutoFeatureExtractor, AutoModelForCTC

    folder = make_encoder("wav2vec2", words="one two six")
    made = export(folder, "onnx", tmp_path / "out")
    network, extractor = AutoModelForCTC.from_pretrained(folder), AutoFeatureExtractor.from_pretrained(folder)
    given = extractor(waveform(12_345), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        there = network(**given).logits.log_softmax(-1).numpy()
    assert np.abs(ran(made.output, waveform(12_345)) - there).max() < 1e-4


def test_the_manifest_is_all_that_reading_it_needs(make_encoder, tmp_path):
    folder = make_encoder("wav2vec2", words="one two six")
    made = export(folder, "onnx", tmp_path / "out")
    stated = json.loads((made.output / "manifest.json").read_text())
    assert stated["input"] == {"name": "samples", "shape": [1, "time"], "type": "float32", "sample_rate": 16_000}
    places = ran(made.output, waveform(16_000))[0].argmax(-1)
    changed = [place for k, place in enumerate(places) if k == 0 or place != places[k - 1]]
    text = "".join(stated["symbols"][place] or "" for place in changed)
    model = load(folder, device="cpu")
    assert " ".join(text.split()) == model.answer([waveform(16_000)])[0] != ""
    labels = export(make_encoder("hubert", labels=["one", "two"]), "onnx", tmp_path / "labels").output
    assert json.loads((labels / "manifest.json").read_text())["labels"] == ["one", "two"]


def test_whisper_s_manifest_says_how_much_it_holds(tiny_whisper, tmp_path):
    made = export(adapted(tmp_path / "saved", tiny_whisper, head={"kind": "ctc"}), "onnx", tmp_path / "out")
    stated = json.loads((made.output / "manifest.json").read_text())
    assert stated["longest_seconds"] == pytest.approx(1.8)  # two, less the silence on both sides
    assert stated["symbols"][stated["blank"]] == ""


# -- proof -------------------------------------------------------------------------------------------------------------
def test_it_is_proven_on_utterances(tiny_whisper, corpus_table, tmp_path):
    folder = adapted(tmp_path / "saved", tiny_whisper, head={"kind": "ctc", "recurrent": 1})
    made = export(folder, "onnx", tmp_path / "out", check=read(corpus_table))
    assert made.proof.holds and made.proof.largest < 1e-4 and made.proof.frames is None
    assert made.proof.differing == []


def test_int8_is_smaller_and_near(tiny_whisper, corpus_table, tmp_path):
    folder = adapted(tmp_path / "saved", tiny_whisper, head={"kind": "ctc", "recurrent": 2})
    whole = export(folder, "onnx", tmp_path / "whole")
    small = export(folder, "onnx", tmp_path / "small", quantization="int8", check=read(corpus_table))
    assert set(small.files) == {"model.onnx", "manifest.json"}
    assert small.files["model.onnx"] < whole.files["model.onnx"]
    assert small.proof.holds and small.proof.largest > 0


def test_another_model_s_graph_does_not_pass(tiny_whisper, make_whisper, corpus_table, tmp_path):
    from speechxfer.export.proof import prove

    folder = adapted(tmp_path / "saved", tiny_whisper, head={"kind": "ctc"})
    other = adapted(tmp_path / "other", make_whisper(seconds=2, seed=3), head={"kind": "ctc"})
    made = export(other, "onnx", tmp_path / "out")
    assert not prove(load(folder, device="cpu"), "onnx", made.output, read(corpus_table), "float32").holds


# -- mistakes ----------------------------------------------------------------------------------------------------------
def test_whisper_s_own_decoder_is_refused_with_what_to_do(tiny_whisper, tmp_path):
    with pytest.raises(UserError, match=r"(?s)Whisper's own decoder.*--to ctranslate2"):
        export(tiny_whisper, "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_filter_bank_that_is_not_in_the_graph_is_refused(make_encoder, tmp_path):
    with pytest.raises(UserError, match=r"(?s)filter bank of wav2vec2-bert.*--to transformers"):
        export(make_encoder("bert", words="one"), "onnx", tmp_path / "out")


def test_a_beam_search_stays_behind_and_is_told(make_encoder, tmp_path):
    pytest.importorskip("ctc_beam_decoder")
    model = load(make_encoder("wav2vec2", words="one two six"), device="cpu")
    model.settings.beams = 5
    model.save(tmp_path / "saved")
    made = export(tmp_path / "saved", "onnx", tmp_path / "out")
    assert len(made.warnings) == 1 and "beam search" in made.warnings[0]


def test_an_exported_graph_is_replaced_only_when_asked(make_encoder, tmp_path):
    folder = make_encoder("wav2vec2", words="one two six")
    export(folder, "onnx", tmp_path / "out")
    with pytest.raises(UserError, match="--overwrite"):
        export(folder, "onnx", tmp_path / "out")
    assert export(folder, "onnx", tmp_path / "out", overwrite=True).files.keys() == {"model.onnx", "manifest.json"}
