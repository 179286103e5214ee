"""CTC recognisers: as transformers computes them, their vocabularies, and their beam search."""

from __future__ import annotations

import gzip
import importlib.util
import shutil

import pytest
import torch
from transformers import (
    AutoModelForCTC,
    AutoProcessor,
    AutoTokenizer,
    Wav2Vec2CTCTokenizer,
)

import speechxfer
import speechxfer.models
from speechxfer.config import load_recipe
from speechxfer.data import audio
from speechxfer.data.reader import read
from speechxfer.decoding.ctc_beam import BeamSearchOptions
from speechxfer.errors import UserError
from speechxfer.heads.whisper_ctc import WhisperForCTC
from speechxfer.models import (
    load,
)
from speechxfer.text.ngram import train_ngram

needs_beam_search = pytest.mark.skipif(
    importlib.util.find_spec("ctc_beam_decoder") is None, reason="the extra 'lm' is not installed"
)


FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec", "conformer", "bert")
SAVED_TEXTS = ["one", "two", "six one"]  # those of `save_untrained`


CTC = {"kind": "ctc"}
OWN = {"kind": "ctc", "vocabulary": "own"}


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_ctc_heads(save_untrained, make_encoder, waveform, family, open_strictly, extract_features, compute_frames):
    model, folder = save_untrained(make_encoder(family), kind="ctc")
    network = open_strictly(AutoModelForCTC, folder)
    assert type(network).__module__.startswith("transformers.")
    logits = network(**extract_features(folder, waveform)).logits
    mine = model.compute_emissions(compute_frames(model, waveform)).log_probs
    torch.testing.assert_close(logits.log_softmax(-1), mine, atol=1e-4, rtol=0)
    words = AutoProcessor.from_pretrained(folder).batch_decode(logits.argmax(-1))
    # our decoding leaves out the unknown symbol
    assert [" ".join(text.replace("<unk>", "").split()) for text in words] == model.predict([waveform])


@torch.no_grad()
@pytest.mark.parametrize("lstm_layers", [0, 2])
def test_ctc_on_whisper_by_the_auto_class(
    save_untrained, tiny_whisper, waveform, lstm_layers, open_strictly, extract_features, compute_frames
):
    model, folder = save_untrained(tiny_whisper, kind="ctc", lstm_layers=lstm_layers)
    network = open_strictly(AutoModelForCTC, folder)
    assert isinstance(network, WhisperForCTC)
    logits = network(**extract_features(folder, waveform)).logits
    with model.use_padding():
        mine = model.compute_emissions(compute_frames(model, waveform)).log_probs
    torch.testing.assert_close(logits.log_softmax(-1), mine, atol=1e-4, rtol=0)
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == model.vocabulary


def test_lstm_layers_are_for_whisper_only_and_ignore_padding(save_untrained, make_encoder, tiny_whisper, make_speech):
    model, _ = save_untrained(tiny_whisper, kind="ctc", lstm_layers=1)
    assert sum(name.startswith("context.") for name, _ in model.network.named_parameters()) == 8  # both directions
    assert {id(p) for module in model.head for p in module.parameters()} >= {
        id(p) for name, p in model.network.named_parameters() if not name.startswith("encoder.")
    }
    short, long = make_speech("one", 0, 0.5), make_speech("six", 3, 1.4)
    together = model.infer([short, long], model.compute_emissions)
    alone = model.infer([short], model.compute_emissions)
    found = together.log_probs[0, : together.lengths[0]]
    torch.testing.assert_close(found, alone.log_probs[0], atol=1e-4, rtol=0)
    with pytest.raises(UserError, match=r"head\.lstm_layers.*wav2vec2"):
        save_untrained(make_encoder("wav2vec2"), kind="ctc", lstm_layers=1)


@torch.no_grad()
def test_frames_of_a_new_head_are_standardised_also_after_saving(
    save_untrained, make_encoder, tiny_whisper, make_speech, tmp_path
):
    texts = [make_speech("one", 0, 0.5), make_speech("six", 3, 1.4)]
    model, _ = save_untrained(tiny_whisper, kind="ctc", lstm_layers=1)
    model.standardise_frames(texts)
    model.save(tmp_path / "again")
    for mine in (model, speechxfer.load(tmp_path / "again")):
        frames = torch.cat([mine.infer([one], lambda frames: frames.states[0]) for one in texts])
        torch.testing.assert_close(frames.mean(0), torch.zeros(frames.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(frames.std(0, correction=0), torch.ones(frames.shape[1]), atol=1e-4, rtol=0)
    other, _ = save_untrained(make_encoder("wav2vec2"), kind="ctc")
    before = {name: weight.clone() for name, weight in other.network.state_dict().items()}
    unheard = iter(texts)
    other.standardise_frames(unheard)
    assert len(list(unheard)) == len(texts)
    assert all(torch.equal(weight, before[name]) for name, weight in other.network.state_dict().items())


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_its_own_vocabulary_keeps_its_head_and_a_new_one_gets_a_new_head(
    save_perturbed, make_encoder, tiny_whisper, family, build, have_equal_weights
):
    earlier, folder = save_perturbed(tiny_whisper if family == "whisper" else make_encoder(family), CTC)
    own = build(folder, OWN, ["another text"])
    assert own.vocabulary == earlier.vocabulary and have_equal_weights(own.network.lm_head, earlier.network.lm_head)
    assert own.encode_target("one six") == earlier.encode_target("one six")
    with pytest.raises(UserError, match="characters that the vocabulary lacks: z"):
        own.encode_target("oz")
    other = build(folder, CTC, ["abcdefghi"])
    assert len(other.vocabulary) == len(earlier.vocabulary) + 1
    same_size = build(folder, CTC, ["abcdefgh"])  # the same number of other symbols
    assert len(same_size.vocabulary) == len(earlier.vocabulary)
    for anew in (other, same_size):
        assert not anew.network.lm_head.weight.detach()[3:5].equal(earlier.network.lm_head.weight.detach()[3:5])
        assert not anew.network.lm_head.bias.detach().any()


def test_a_checkpoint_without_ctc_head_has_no_vocabulary_of_its_own(tiny_whisper, make_encoder, build):
    for checkpoint in (tiny_whisper, make_encoder("wav2vec2")):
        with pytest.raises(UserError, match="no CTC head of its own") as caught:
            build(checkpoint, OWN)
        assert "from-train" in str(caught.value)


def test_a_published_ctc_checkpoint_in_capitals(make_encoder, build):
    model = build(make_encoder("wav2vec2", words="ONE TWO"), OWN)
    assert model.encode_target("one two") == model.encode_target("ONE TWO")
    assert "".join({place: s for s, place in model.vocabulary.items()}[p] for p in model.encode_target("two")) == "TWO"


def test_a_ctc_head_wider_than_its_vocabulary(make_encoder):
    """Hub checkpoints may pad the output layer to a round number; the extra outputs write nothing."""
    model = load(make_encoder("wav2vec2", words="one two"), device="cpu")
    places = [model.vocabulary[character] for character in "one"]
    assert model.decode_ids([places[0], 1_000, *places[1:]]) == "one"


@needs_beam_search
def test_a_tokenizer_that_is_wider_than_its_head(make_encoder, tmp_path, corpus_table):
    """transformers adds start and end symbols to every tokenizer, after the last symbol of the vocabulary."""
    ctc = make_encoder("wav2vec2", words="one two six")
    shutil.copytree(ctc, tmp_path / "wide")
    Wav2Vec2CTCTokenizer(str(tmp_path / "wide" / "vocab.json")).save_pretrained(tmp_path / "wide")
    model, narrow, row = load(tmp_path / "wide", device="cpu"), load(ctc, device="cpu"), read(corpus_table)[0]
    assert len(model.vocabulary) == len(narrow.vocabulary) + 2
    assert model.labels == narrow.labels
    model.settings.beam_size = narrow.settings.beam_size = 4
    assert model.predict([audio.load_waveform(row)]) == narrow.predict([audio.load_waveform(row)])


@needs_beam_search
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_language_model_is_saved_with_the_model(make_encoder, make_speech, tmp_path, suffix):
    train_ngram(["one two six", "two one"], 2).write(tmp_path / "given.arpa")
    given = tmp_path / f"given.arpa{suffix}"
    if suffix:
        given.write_bytes(gzip.compress((tmp_path / "given.arpa").read_bytes()))
    model = load(make_encoder("wav2vec2", words="one two six"), device="cpu")
    decoding = load_recipe(
        {"decoding": {"kind": "beam", "beam_size": 5, "lm": str(given), "hot_words": ["Two"]}}
    ).decoding
    model.settings.beam_size = decoding.beam_size
    model.configure_beam_search(decoding, [])
    assert model.search_options == BeamSearchOptions(5, 0.0, 0.0, ("two",), decoding.hot_word_weight)
    model.save(tmp_path / "saved")
    assert (tmp_path / "saved/lm.arpa").read_bytes() == (tmp_path / "given.arpa").read_bytes()
    again, waveforms = load(tmp_path / "saved", device="cpu"), [make_speech("one", 0, 0.5), make_speech("six", 3, 1.4)]
    assert again.search_options == model.search_options and again.predict(waveforms) == model.predict(waveforms)
