"""Whisper with its decoder: as transformers generates, its languages, and its generation config."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import (
    AddedToken,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from speechxfer.errors import UserError
from speechxfer.models import (
    load,
    seq2seq,
)
from speechxfer.shapes import Frames, pad_targets


@torch.no_grad()
@pytest.mark.parametrize("multilingual", [False, True])
def test_whisper_with_its_decoder(save_untrained, make_whisper, waveform, multilingual, open_strictly, compute_frames):
    language = ["encoder.language=de"] if multilingual else []
    model, folder = save_untrained(make_whisper(seconds=2, multilingual=multilingual), *language, kind="seq2seq")
    network = open_strictly(WhisperForConditionalGeneration, folder)
    processor = WhisperProcessor.from_pretrained(folder)
    features = processor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
    texts = {"language": "de", "task": "transcribe"} if multilingual else {}
    truth = network.generate(features, max_new_tokens=47, **texts)
    model.settings.no_loops = False  # random weights produce loops only
    with model.use_padding():
        mine = model.predict([waveform])
        states = compute_frames(model, waveform).states
    assert mine == [text.strip() for text in processor.batch_decode(truth, skip_special_tokens=True)]
    torch.testing.assert_close(network.model.encoder(features).last_hidden_state, states, atol=1e-4, rtol=0)


def test_a_checkpoint_with_sampling_options_is_saved(tiny_whisper, tmp_path):
    """transformers refuses to save options that the decoding method does not use."""
    from transformers import GenerationConfig

    model = load(tiny_whisper, device="cpu")
    stated = model.network.generation_config
    stated.early_stopping, stated.num_return_sequences, stated.temperature, stated.top_k = True, 3, 0.6, 9
    for beams in (1, 3):
        model.settings.beam_size = beams
        model.save(tmp_path / str(beams))
        found = GenerationConfig.from_pretrained(tmp_path / str(beams))
        assert found.num_beams == beams and found.suppress_tokens == stated.suppress_tokens
        stated.early_stopping, stated.temperature = True, 0.6


def test_the_language_is_saved(make_whisper, tmp_path):
    load(make_whisper(seconds=2, multilingual=True), device="cpu", language="de").save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/speechxfer.json").read_text())["language"] == "de"
    assert load(tmp_path / "saved", device="cpu").prompt == load(tmp_path / "saved", device="cpu", language="de").prompt
    assert load(tmp_path / "saved", device="cpu", language="en").prompt != load(tmp_path / "saved", device="cpu").prompt


def test_a_multilingual_checkpoint_without_generation_config(make_whisper, copy_folder, monkeypatch):
    """Early fine-tunings have no generation_config.json; the vocabulary size tells English-only models apart."""
    folder = copy_folder(make_whisper(seconds=2, multilingual=True))
    (folder / "generation_config.json").unlink()
    load(folder, device="cpu")  # its vocabulary is that of an English-only model
    monkeypatch.setattr(seq2seq, "MULTILINGUAL_VOCABULARY_SIZE", 10)
    with pytest.raises(UserError, match=r"multilingual and needs a language"):
        load(folder, device="cpu")
    assert len(load(folder, device="cpu", language="de").prompt) == 4


def test_a_text_that_is_too_long_for_the_decoder(tiny_whisper):
    model = load(tiny_whisper, device="cpu")
    words = model.whisper.config.max_target_positions - len(model.prompt) - 1  # one token each
    assert len(model.encode_target("one " * words)) == words + 1
    with pytest.raises(UserError, match=f"{words + 2} tokens exceeds the decoder's limit of {words + 1}: one one"):
        model.encode_target("one " * (words + 1))


@pytest.mark.parametrize("timed", [False, True])
def test_the_vocabulary_is_written_for_other_tools(make_whisper, tmp_path, timed):
    """vocab.json and added_tokens.json have the tokenizer's tokens, and transformers reads the folder as without."""
    model = load(make_whisper(seconds=2, multilingual=True), device="cpu", language="de")
    tokenizer = model.processor.tokenizer
    if timed:
        tokenizer.add_tokens([AddedToken("<|0.00|>", special=False, normalized=False)])
    model.save(tmp_path / "saved")
    words, added = (json.loads((tmp_path / "saved" / name).read_text()) for name in ("vocab.json", "added_tokens.json"))
    assert words | added == tokenizer.get_vocab() and not words.keys() & added.keys()
    assert list(words.values()) == list(range(len(words))) and not any(name.startswith("<|") for name in words)
    assert {"<|endoftext|>", "<|de|>", "<|notimestamps|>"} <= added.keys() and ("<|0.00|>" in added) == timed
    with_files = WhisperProcessor.from_pretrained(tmp_path / "saved").tokenizer
    for name in ("vocab.json", "added_tokens.json"):
        (tmp_path / "saved" / name).unlink()
    without = WhisperProcessor.from_pretrained(tmp_path / "saved").tokenizer
    text = "<|startoftranscript|><|de|> one six naïve<|0.00|><|endoftext|>"
    assert with_files.get_vocab() == without.get_vocab() == tokenizer.get_vocab()
    assert with_files(text).input_ids == without(text).input_ids
    ids = without(text).input_ids
    for skip in (False, True):
        assert with_files.decode(ids, skip_special_tokens=skip) == without.decode(ids, skip_special_tokens=skip)
    assert with_files.all_special_ids == without.all_special_ids


@pytest.fixture
def german(make_whisper):
    return load(make_whisper(seconds=2, multilingual=True), device="cpu", language="de")


def test_a_text_in_another_language_has_the_loss_of_a_model_in_that_language(german, make_speech):
    """One batch of two languages: each row is trained after its own language's token, which is no target."""
    frames = german.encoder(german.encoder.prepare([make_speech("one", 0, 0.6), make_speech("two", 1, 1.2)]))
    chinese = german.copy_with_language("zh")
    plain = pad_targets([german.encode_target("one"), german.encode_target("two six")])
    other = [[*german.encode_language("zh"), *german.encode_target("one")], german.encode_target("two six")]
    with torch.no_grad():
        mixed = german.compute_loss(frames, pad_targets(other))
        first, second = (Frames(frames.states[k : k + 1], frames.lengths[k : k + 1]) for k in (0, 1))
        expected = chinese.compute_loss(first, plain[:1]) + german.compute_loss(second, plain[1:])
        assert float(mixed) == pytest.approx(float(expected), abs=1e-3)
        assert abs(float(mixed) - float(german.compute_loss(frames, plain))) > 0.01


def test_languages_of_targets(german, tiny_whisper):
    token = german.processor.tokenizer.convert_tokens_to_ids("<|zh|>")
    assert german.encode_language("zh") == german.encode_language("chinese") == [token]
    assert german.encode_language("de") == german.encode_language("") == []
    one, two = german.encode_target("one"), german.encode_target("two")
    assert german.join_targets([[token, *one], [token, *two]]) == [token, *german.join_targets([one, two])]
    with pytest.raises(UserError, match="does not know the language 'fr'"):
        german.encode_language("fr")
    with pytest.raises(UserError, match="this checkpoint knows English only"):
        load(tiny_whisper, device="cpu").encode_language("de")
