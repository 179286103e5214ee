"""Each runner gives what its library computes, and the same as the others for the same model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechxfer.data import audio
from speechxfer.errors import UserError
from speechxfer.export import export_model
from speechxfer.export.runners import (
    CTranslate2Whisper,
    NativeHead,
    NativeWhisper,
    OnnxHead,
    TransformersHead,
    TransformersWhisper,
)
from speechxfer.models import load


def test_ctranslate2_gives_the_same_frames_and_tokens(whisper, in_ctranslate2, utterances):
    import ctranslate2
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    theirs = ctranslate2.models.Whisper(str(in_ctranslate2), compute_type="float32")
    plain = WhisperForConditionalGeneration.from_pretrained(whisper).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(whisper)
    start = plain.config.decoder_start_token_id
    for row in utterances:
        features = extractor(audio.load_waveform(row), sampling_rate=16_000, return_tensors="pt").input_features
        encoded = theirs.encode(ctranslate2.StorageView.from_array(features.numpy()))
        with torch.no_grad():
            frames = plain.model.encoder(features).last_hidden_state
            texts = plain.generate(features, num_beams=1, max_new_tokens=20)[0].tolist()
        assert np.abs(np.array(encoded) - frames.numpy()).max() < 1e-3
        prompt = [start, plain.generation_config.no_timestamps_token_id]
        found = theirs.generate(encoded, [prompt], beam_size=1, max_length=22)[0].sequences_ids[0]
        words = [token for token in texts if token < plain.config.eos_token_id]
        assert len(found) >= 5 and found[:5] == words[:5]


@torch.no_grad()
def test_probabilities_of_tokens_are_those_of_whisper_s_own_forward(tiny_whisper, utterances):
    model = load(tiny_whisper, device="cpu")
    tokens = model.encode_text("one two")[:-1]
    waveform = audio.load_waveform(utterances[0])
    output = NativeWhisper(model).run(waveform, tokens)
    with model.use_padding():
        features = model.encoder.prepare([waveform]).features
    inputs = torch.tensor([[*model.prompt, *tokens]])
    logits = model.whisper(input_features=features, decoder_input_ids=inputs).logits[0]
    text_only = logits[len(model.prompt) - 1 : -1, : model.processor.tokenizer.eos_token_id]  # no special tokens
    truth = text_only.softmax(-1)[range(len(tokens)), tokens]
    torch.testing.assert_close(output.probabilities, truth, atol=1e-5, rtol=0)
    assert output.tokens == tokens


@torch.no_grad()
def test_whisper_in_transformers_and_ctranslate2_agree(whisper, in_ctranslate2, utterances, tmp_path):
    plain = export_model(whisper, "transformers", tmp_path / "plain").output
    model, waveform = load(whisper, device="cpu"), audio.load_waveform(utterances[0])
    tokens = model.encode_text("six two")[:-1]
    native = NativeWhisper(model).run(waveform, tokens)
    for other in (TransformersWhisper(model, plain), CTranslate2Whisper(model, in_ctranslate2, "float32")):
        output = other.run(waveform, tokens)
        torch.testing.assert_close(output.probabilities, native.probabilities, atol=1e-4, rtol=0)
        torch.testing.assert_close(output.frames, native.frames, atol=1e-3, rtol=0)
        own = other.run(waveform, None)
        assert (
            len(own.tokens) == len(own.probabilities) > 0 and max(own.tokens) < model.processor.tokenizer.eos_token_id
        )


@torch.no_grad()
@pytest.mark.parametrize("kind", ["ctc", "labels"])
def test_heads_in_transformers_and_onnx_agree(make_encoder, utterances, tmp_path, kind):
    pytest.importorskip("onnxruntime")
    folder = make_encoder("wav2vec2", **({"words": "one two six"} if kind == "ctc" else {"labels": ["one", "two"]}))
    plain = export_model(folder, "transformers", tmp_path / "plain").output
    graph = export_model(folder, "onnx", tmp_path / "graph").output
    model, waveform = load(folder, device="cpu"), audio.load_waveform(utterances[0])
    native = NativeHead(model).run(waveform, None)
    assert native.text == model.predict([waveform])[0]
    torch.testing.assert_close(native.probabilities.sum(-1), torch.ones(native.probabilities.shape[:-1]))
    for other in (TransformersHead(model, plain), OnnxHead(model, graph)):
        output = other.run(waveform, None)
        torch.testing.assert_close(output.probabilities, native.probabilities, atol=1e-4, rtol=0)
        assert output.text == native.text and output.tokens == []


def test_padding_of_a_head_on_whisper(tiny_whisper, save_untrained, utterances):
    model = load(save_untrained("saved", tiny_whisper, {"kind": "ctc"}), device="cpu")
    waveform = audio.load_waveform(utterances[0])
    with torch.no_grad():
        padded, unpadded = (
            NativeHead(model).run(waveform, None),
            NativeHead(model, force_padding=False).run(waveform, None),
        )
    assert padded.frames.shape[1] == 100 > unpadded.frames.shape[1]  # its "30 s" are 2 s, at 50 frames per second


def test_a_graph_takes_no_more_than_its_limit(tiny_whisper, save_untrained, tmp_path):
    pytest.importorskip("onnxruntime")
    folder = save_untrained("saved", tiny_whisper, {"kind": "ctc"})
    runner = OnnxHead(load(folder, device="cpu"), export_model(folder, "onnx", tmp_path / "out").output)
    with pytest.raises(UserError, match=r"utterance of 2\.5 s is longer than the graph's limit of 2\.0 s"):
        runner.run(np.zeros(40_000, np.float32), None)
