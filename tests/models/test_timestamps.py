"""Texts with timestamps, as targets of Whisper's decoder: their tokens, the prompt before them, and their loss."""

from __future__ import annotations

import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from speechxfer.models import load
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.shapes import pad_targets

TIMED, PLAIN = "<|0.00|> one two<|0.40|><|0.56|> six<|1.20|>", "one two"


@pytest.fixture
def model(timed_whisper) -> WhisperRecogniser:
    return load(timed_whisper, device="cpu")


def names_of(model: WhisperRecogniser, ids: list[int]) -> list[str]:
    return model.processor.tokenizer.convert_ids_to_tokens(ids)


def test_the_tokens_of_a_text(model):
    assert model.knows_timestamps
    assert names_of(model, model.encode_target(TIMED)) == [
        "<|0.00|>", "Ġone", "Ġtwo", "<|0.40|>", "<|0.56|>", "Ġsix", "<|1.20|>", "<|endoftext|>",
    ]  # fmt: skip
    assert names_of(model, model.encode_target("<|0.09|>one<|0.312|>"))[::2] == ["<|0.08|>", "<|0.32|>"]  # nearest
    assert model.processor.tokenizer.decode(model.encode_target(TIMED), skip_special_tokens=True) == " one two six"


@pytest.mark.parametrize("text", ["<|0.40|> one<|0.20|>", "<|0.00|> one<|2.40|>", "<|notimestamps|> one<|endoftext|>"])
def test_what_is_not_whisper_s_is_left_out(model, text):
    """Times that go backwards or beyond the audio, and other special tokens, which would end or restart a text."""
    assert model.encode_target(text) == model.encode_target("one")


def test_a_tokenizer_without_the_tokens(timed_whisper, make_whisper, model, tmp_path):
    """Those of 2022 have none, and their models know the numbers."""
    folder = tmp_path / "old"
    WhisperForConditionalGeneration.from_pretrained(timed_whisper).save_pretrained(folder)
    WhisperProcessor.from_pretrained(make_whisper(seconds=2)).save_pretrained(folder)
    old = load(folder, device="cpu")
    assert old.knows_timestamps and old.encode_target(TIMED) == model.encode_target(TIMED)


def test_a_checkpoint_without_the_tokens(tiny_whisper):
    without = load(tiny_whisper, device="cpu")
    assert not without.knows_timestamps and without.encode_target(TIMED) == without.encode_target("one two six")


def test_silence_before_the_audio_moves_the_times(model):
    model.encoder.pad_silence = 0.3
    assert names_of(model, model.encode_target("<|0.00|> one<|0.50|>")) == [
        "<|0.30|>",
        "Ġone",
        "<|0.80|>",
        "<|endoftext|>",
    ]


def test_the_loss_is_transformers_without_the_no_timestamps_token(timed_whisper, model, waveform):
    network = WhisperForConditionalGeneration.from_pretrained(timed_whisper)
    processor = WhisperProcessor.from_pretrained(timed_whisper)
    features = processor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
    target = model.encode_target(TIMED)
    start = processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    inputs = torch.tensor([[start, *target[:-1]]])
    with torch.no_grad():
        truth = network(features, decoder_input_ids=inputs, labels=torch.tensor([target])).loss
        found = model.compute_loss(model.encoder(model.encoder.prepare([waveform])), pad_targets([target]))
    assert float(found) / len(target) == pytest.approx(float(truth), abs=1e-4)


def test_both_kinds_in_one_batch(model, waveform):
    targets = [model.encode_target(text) for text in (TIMED, PLAIN, "<|0.10|> six<|0.50|>", "six six six six six six")]
    with torch.no_grad():
        frames = model.encoder(model.encoder.prepare([waveform]))
        alone = sum(float(model.compute_loss(frames, pad_targets([target]))) for target in targets)
        frames = model.encoder(model.encoder.prepare([waveform] * len(targets)))
        together = float(model.compute_loss(frames, pad_targets(targets)))
    assert together == pytest.approx(alone, rel=1e-4)


def test_both_ways_are_learnt_and_transformers_transcribes_with_times(timed_whisper, model, make_speech, tmp_path):
    """Trained on two recordings both ways: the text without times here, and with them in transformers."""
    texts = {"one": "<|0.00|> one one<|0.60|>", "six": "<|0.10|> six<|0.50|><|0.60|> two<|1.00|>"}
    waveforms = [make_speech(word, 0, 1.2) for word in texts] * 2
    plain = ["one one", "six two"]
    labels = pad_targets([model.encode_target(text) for text in (*texts.values(), *plain)])
    prepared = model.encoder.prepare(waveforms)
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=4e-3)
    for _ in range(80):
        optimiser.zero_grad()
        model.compute_loss(model.encoder(prepared), labels).backward()
        optimiser.step()
    assert model.predict(waveforms[:2]) == plain
    model.save(tmp_path / "saved")
    network = WhisperForConditionalGeneration.from_pretrained(tmp_path / "saved")
    processor = WhisperProcessor.from_pretrained(tmp_path / "saved")
    for waveform, text in zip(waveforms[:2], texts.values(), strict=True):
        features = processor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
        (ids,) = network.generate(features, return_timestamps=True, num_beams=1).tolist()
        expected = model.encode_target(text)[:-1]
        assert ids[ids.index(expected[0]) :][: len(expected)] == expected


def test_a_joint_model_s_ctc_targets_have_no_times(timed_whisper, build, waveform):
    joint = build(timed_whisper, {"kind": "joint"}, [TIMED, PLAIN])
    assert "0" not in joint.vocabulary and "<" not in joint.vocabulary
    assert joint._get_ctc_target(joint.encode_target(TIMED)) == joint.encode_known("one two six")


def test_times_do_not_count_as_words(timed_whisper, build):
    assert build(timed_whisper, {"kind": "seq2seq"}, [TIMED]).settings.tokens_per_word == 1.0
