"""ONNX graphs of CTC and classification models, compared with the original and with transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.export import export_model
from speechxfer.export.onnx_writer import make_manifest
from speechxfer.models import load

onnxruntime = pytest.importorskip("onnxruntime")
LENGTHS = (150, 1_700, 16_000, 47_777)  # samples: shorter than a frame, and longer than the traced example
WHISPER_LONGEST = 2 * 16_000


def waveform(samples: int) -> np.ndarray:
    """A rising tone with harmonics and little noise: it has loud and quiet frequencies, as speech does."""
    time = np.arange(samples) / 16_000
    tone = sum(np.sin(2 * np.pi * k * (150 * time + 40 * time**2)) / k for k in range(1, 12))
    noise = np.random.default_rng(samples).standard_normal(samples)
    return (0.1 * tone + 1e-4 * noise).astype(np.float32)


def run_graph(folder: Path, samples: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(["log_probs"], {"samples": samples[None]})[0]


def compute_log_probs(folder: Path, samples: np.ndarray) -> np.ndarray:
    model = load(folder, device="cpu")
    if model.kind == "ctc":
        return model.infer([samples], lambda frames: model.compute_emissions(frames).log_probs).numpy()
    return model.infer([samples], lambda frames: model.compute_scores(frames).log_softmax(-1)).numpy()


def assert_same(folder: Path, made: Path, lengths=LENGTHS) -> None:
    for samples in lengths:
        here, there = compute_log_probs(folder, waveform(samples)), run_graph(made, waveform(samples))
        assert here.shape == there.shape
        assert np.abs(np.exp(here) - np.exp(there)).max() < 5e-5


# -- the same model ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "head",
    [
        {"kind": "ctc"},
        {"kind": "ctc", "lstm_layers": 2},
        {"kind": "classify", "pooling": "mean"},
        {"kind": "classify", "pooling": "attentive"},
    ],
    ids=lambda head: "-".join(str(value) for value in head.values()),
)
def test_a_head_on_whisper_unpadded_and_with_silence(head, tiny_whisper, tmp_path, save_untrained):
    folder = save_untrained("saved", tiny_whisper, head, scale=20)
    made = export_model(folder, "onnx", tmp_path / "out")
    assert made.warnings == [] and set(made.files) == {"model.onnx", "manifest.json"}
    # the last three leave less space, or none, for the silence
    lengths = [
        150,
        1_700,
        9_999,
        WHISPER_LONGEST - 3_200,
        WHISPER_LONGEST - 3_199,
        WHISPER_LONGEST - 1,
        WHISPER_LONGEST,
    ]
    assert_same(folder, made.output, lengths)


def test_whisper_padded_where_the_model_is(tiny_whisper, tmp_path, save_untrained):
    folder = save_untrained("saved", tiny_whisper, {"kind": "ctc"}, scale=20)
    settings = folder / "speechxfer.json"
    stated = json.loads(settings.read_text())
    settings.write_text(json.dumps(stated | {"pad_to_30s": True, "silence": 0.0}))
    made = export_model(folder, "onnx", tmp_path / "out")
    assert run_graph(made.output, waveform(5_000)).shape[1] == 100  # this model pads to two seconds
    assert_same(folder, made.output, [150, 9_999, WHISPER_LONGEST])


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "data2vec", "conformer"])
def test_every_family_that_takes_the_waveform(family, make_encoder, tmp_path):
    folder = make_encoder(family, words="one two six")
    assert_same(folder, export_model(folder, "onnx", tmp_path / "ctc").output)
    folder = make_encoder(family, labels=["one", "two"])
    assert_same(folder, export_model(folder, "onnx", tmp_path / "labels").output)


def test_transformers_agrees(make_encoder, tmp_path):
    from transformers import AutoFeatureExtractor, AutoModelForCTC

    folder = make_encoder("wav2vec2", words="one two six")
    made = export_model(folder, "onnx", tmp_path / "out")
    network, extractor = AutoModelForCTC.from_pretrained(folder), AutoFeatureExtractor.from_pretrained(folder)
    given = extractor(waveform(12_345), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        there = network(**given).logits.log_softmax(-1).numpy()
    assert np.abs(run_graph(made.output, waveform(12_345)) - there).max() < 1e-4


def test_the_manifest_is_enough_to_decode_the_output(make_encoder, tmp_path):
    folder = make_encoder("wav2vec2", words="one two six")
    made = export_model(folder, "onnx", tmp_path / "out")
    stated = json.loads((made.output / "manifest.json").read_text())
    assert stated["input"] == {"name": "samples", "shape": [1, "time"], "type": "float32", "sample_rate": 16_000}
    places = run_graph(made.output, waveform(16_000))[0].argmax(-1)
    changed = [place for k, place in enumerate(places) if k == 0 or place != places[k - 1]]
    text = "".join(stated["symbols"][place] or "" for place in changed)
    model = load(folder, device="cpu")
    assert " ".join(text.split()) == model.predict([waveform(16_000)])[0] != ""
    labels = export_model(make_encoder("hubert", labels=["one", "two"]), "onnx", tmp_path / "labels").output
    stated = json.loads((labels / "manifest.json").read_text())
    assert stated["labels"] == ["one", "two"] and stated["reject_below"] is None


def test_the_manifest_has_the_rejection_threshold(tiny_whisper, save_untrained):
    model = load(save_untrained("saved", tiny_whisper, {"kind": "classify", "pooling": "mean"}, scale=20), device="cpu")
    model.settings.reject_below = 0.625
    assert make_manifest(model)["reject_below"] == 0.625


def test_whisper_s_manifest_has_its_maximum_length(tiny_whisper, tmp_path, save_untrained):
    made = export_model(save_untrained("saved", tiny_whisper, {"kind": "ctc"}, scale=20), "onnx", tmp_path / "out")
    stated = json.loads((made.output / "manifest.json").read_text())
    assert stated["longest_seconds"] == 2.0
    assert stated["symbols"][stated["blank"]] == ""


# -- proof -------------------------------------------------------------------------------------------------------------
def test_it_passes_the_check_on_utterances(tiny_whisper, corpus_table, tmp_path, save_untrained):
    folder = save_untrained("saved", tiny_whisper, {"kind": "ctc", "lstm_layers": 1}, scale=20)
    made = export_model(folder, "onnx", tmp_path / "out", check=read(corpus_table))
    assert made.parity.passed and made.parity.largest < 1e-4 and made.parity.frames is None
    assert made.parity.differing == []


def test_int8_is_smaller_and_near(tiny_whisper, corpus_table, tmp_path, save_untrained):
    folder = save_untrained("saved", tiny_whisper, {"kind": "ctc", "lstm_layers": 2}, scale=20)
    whole = export_model(folder, "onnx", tmp_path / "whole")
    small = export_model(folder, "onnx", tmp_path / "small", quantization="int8", check=read(corpus_table))
    assert set(small.files) == {"model.onnx", "manifest.json"}
    assert small.files["model.onnx"] < whole.files["model.onnx"]
    assert small.parity.passed and small.parity.largest > 0


def test_a_large_graph_has_one_file_of_weights(tiny_whisper, tmp_path, monkeypatch, save_untrained):
    """torch writes one file per tensor for models over 2 GB; here onnx does the same for a small one."""
    import onnx

    from speechxfer.export import onnx_writer

    trace = onnx_writer._trace

    def in_many_files(whole, path):
        trace(whole, path)
        onnx.save(onnx.load(path), path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)

    monkeypatch.setattr(onnx_writer, "_trace", in_many_files)
    folder = save_untrained("saved", tiny_whisper, {"kind": "ctc"}, scale=20)
    made = export_model(folder, "onnx", tmp_path / "out")
    assert set(made.files) == {"model.onnx", "model.onnx.data", "manifest.json"}
    assert_same(folder, made.output, [9_999])
    small = export_model(folder, "onnx", tmp_path / "out", quantization="int8", overwrite=True)
    assert set(small.files) == {"model.onnx", "model.onnx.data", "manifest.json"}
    apart = np.exp(run_graph(small.output, waveform(9_999))) - np.exp(compute_log_probs(folder, waveform(9_999)))
    assert np.abs(apart).mean() < 0.01


# -- mistakes ----------------------------------------------------------------------------------------------------------
def test_whisper_s_decoder_is_refused(tiny_whisper, tmp_path):
    with pytest.raises(UserError, match=r"(?s)this one uses Whisper.s decoder.*--to ctranslate2"):
        export_model(tiny_whisper, "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unsupported_filter_bank_is_refused(make_encoder, tmp_path):
    with pytest.raises(UserError, match=r"(?s)filter bank of wav2vec2-bert.*--to transformers"):
        export_model(make_encoder("bert", words="one"), "onnx", tmp_path / "out")


def test_a_conformer_s_position_table_limits_its_graph(tmp_path):
    from transformers import (
        Wav2Vec2ConformerConfig,
        Wav2Vec2ConformerForSequenceClassification,
        Wav2Vec2FeatureExtractor,
    )

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    shape |= {"conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 8), "conv_stride": (5, 8, 8), "classifier_proj_size": 12}
    config = Wav2Vec2ConformerConfig(**shape, conv_depthwise_kernel_size=7, max_source_positions=60)
    Wav2Vec2ConformerForSequenceClassification(config).save_pretrained(tmp_path / "saved")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "saved")
    made = export_model(tmp_path / "saved", "onnx", tmp_path / "out")
    longest = round(json.loads((made.output / "manifest.json").read_text())["longest_seconds"] * 16_000)
    assert_same(tmp_path / "saved", made.output, [longest])
    soundfile.write(tmp_path / "long.wav", waveform(longest + 320), 16_000)
    (tmp_path / "long.csv").write_text("audio,text\nlong.wav,one\n")
    with pytest.raises(UserError, match=r"utterance of 1\.2 s is longer than the graph's limit of 1\.2 s"):
        export_model(tmp_path / "saved", "onnx", tmp_path / "checked", check=read(tmp_path / "long.csv"))


def test_a_detector_s_folder_is_not_replaced(make_encoder, tmp_path):
    detector = tmp_path / "detector"
    detector.mkdir()
    for name in ("model.onnx", "model.safetensors"):
        (detector / name).write_bytes(b"its own")
    (detector / "manifest.json").write_text('{"format": "speechxfer.wakeword/1"}')
    with pytest.raises(UserError, match="contains other files"):
        export_model(make_encoder("wav2vec2", words="one two six"), "onnx", detector, overwrite=True)
    assert (detector / "model.onnx").read_bytes() == b"its own"


def test_a_beam_search_that_is_not_exported_is_a_warning(make_encoder, tmp_path):
    pytest.importorskip("ctc_beam_decoder")
    model = load(make_encoder("wav2vec2", words="one two six"), device="cpu")
    model.settings.beam_size = 5
    model.save(tmp_path / "saved")
    made = export_model(tmp_path / "saved", "onnx", tmp_path / "out")
    assert len(made.warnings) == 1 and "beam search" in made.warnings[0]


def test_an_exported_graph_is_replaced_only_when_asked(make_encoder, tmp_path):
    folder = make_encoder("wav2vec2", words="one two six")
    export_model(folder, "onnx", tmp_path / "out")
    with pytest.raises(UserError, match="--overwrite"):
        export_model(folder, "onnx", tmp_path / "out")
    assert export_model(folder, "onnx", tmp_path / "out", overwrite=True).files.keys() == {
        "model.onnx",
        "manifest.json",
    }
