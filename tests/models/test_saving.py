"""What we save, plain transformers opens unchanged, and hears the same; so do we."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    AutoProcessor,
    AutoTokenizer,
    WhisperForAudioClassification,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

import speechxfer.models  # registers the heads that transformers lacks
from speechxfer.config import load_recipe
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel, build_trainable, load

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec", "conformer", "bert")
TEXTS = ["one", "two", "six one"]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., tuple[SpeechModel, Path]]:
    """saved(checkpoint, kind="ctc"): a model with the recipe's head and the folder that it was saved to."""

    def make(checkpoint: Path, *overrides: str, **head: str | int) -> tuple[SpeechModel, Path]:
        stages = [{"train": "head", "epochs": 1, "lr": 1}]
        values = {"encoder": {"name": str(checkpoint)}, "head": head, "stages": stages, "device": "cpu"}
        torch.manual_seed(1)
        model = build_trainable(load_recipe(values, overrides), TEXTS)
        model.network.eval()
        model.save(tmp_path / "saved")
        return model, tmp_path / "saved"

    return make


@pytest.fixture
def waveform(spoken) -> np.ndarray:
    return spoken("two", 1, 1.3)


def opened(kind, folder: Path):
    """`kind.from_pretrained`, every weight found and none left over."""
    network, found = kind.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"] and not found["mismatched_keys"]
    return network.eval()


def inputs_of(folder: Path, waveform: np.ndarray) -> dict[str, torch.Tensor]:
    return dict(AutoFeatureExtractor.from_pretrained(folder)(waveform, sampling_rate=16_000, return_tensors="pt"))


def frames_of(model: SpeechModel, waveform: np.ndarray):
    return model.encoder(model.encoder.prepare([waveform]))


@torch.no_grad()
@pytest.mark.parametrize("multilingual", [False, True])
def test_whisper_with_its_decoder(saved, make_whisper, waveform, multilingual):
    language = ["encoder.language=de"] if multilingual else []
    model, folder = saved(make_whisper(seconds=2, multilingual=multilingual), *language, kind="seq2seq")
    network = opened(WhisperForConditionalGeneration, folder)
    processor = WhisperProcessor.from_pretrained(folder)
    features = processor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
    said = {"language": "de", "task": "transcribe"} if multilingual else {}
    truth = network.generate(features, max_new_tokens=47, **said)
    model.settings.no_loops = False  # random weights say little else
    with model.use_padding():
        mine = model.predict([waveform])
        states = frames_of(model, waveform).states
    assert mine == [text.strip() for text in processor.batch_decode(truth, skip_special_tokens=True)]
    torch.testing.assert_close(network.model.encoder(features).last_hidden_state, states, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_ctc_heads(saved, make_encoder, waveform, family):
    model, folder = saved(make_encoder(family), kind="ctc")
    network = opened(AutoModelForCTC, folder)
    assert type(network).__module__.startswith("transformers.")
    logits = network(**inputs_of(folder, waveform)).logits
    mine = model.compute_emissions(frames_of(model, waveform)).log_probs
    torch.testing.assert_close(logits.log_softmax(-1), mine, atol=1e-4, rtol=0)
    words = AutoProcessor.from_pretrained(folder).batch_decode(logits.argmax(-1))
    # we never write the unknown symbol
    assert [" ".join(text.replace("<unk>", "").split()) for text in words] == model.predict([waveform])


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_classification_heads(saved, make_encoder, waveform, family):
    model, folder = saved(make_encoder(family), kind="classify", pooling="mean")
    network = opened(AutoModelForAudioClassification, folder)
    assert type(network).__module__.startswith("transformers.")
    logits = network(**inputs_of(folder, waveform)).logits
    torch.testing.assert_close(logits, model.compute_scores(frames_of(model, waveform)), atol=1e-4, rtol=0)
    assert [network.config.id2label[int(logits.argmax())]] == model.predict([waveform])
    assert sorted(network.config.label2id) == sorted(TEXTS)


@torch.no_grad()
def test_a_classification_head_on_whisper(saved, tiny_whisper, waveform):
    model, folder = saved(tiny_whisper, kind="classify", pooling="mean")
    logits = opened(WhisperForAudioClassification, folder)(**inputs_of(folder, waveform)).logits
    with model.use_padding():
        torch.testing.assert_close(logits, model.compute_scores(frames_of(model, waveform)), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("family", ["whisper", *FAMILIES])
def test_attentive_pooling_by_the_auto_class(saved, make_encoder, tiny_whisper, waveform, family):
    checkpoint = tiny_whisper if family == "whisper" else make_encoder(family)
    model, folder = saved(checkpoint, kind="classify", pooling="attentive")
    network = opened(AutoModelForAudioClassification, folder)
    assert isinstance(network, speechxfer.heads.classification.AttentiveClassifier)
    logits = network(**inputs_of(folder, waveform)).logits
    with model.use_padding():
        torch.testing.assert_close(logits, model.compute_scores(frames_of(model, waveform)), atol=1e-4, rtol=0)


@torch.no_grad()
def test_attentive_pooling_leaves_padding_out_there_too(saved, make_encoder, spoken, waveform):
    model, folder = saved(make_encoder("bert"), kind="classify", pooling="attentive")  # whose stock forward masks well
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    batch = [waveform, spoken("one", 0, 0.5)]
    inputs = extractor(batch, sampling_rate=16_000, return_tensors="pt", padding=True, return_attention_mask=True)
    logits = opened(AutoModelForAudioClassification, folder)(**inputs).logits
    torch.testing.assert_close(logits[1:], model.compute_scores(frames_of(model, batch[1])), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("recurrent", [0, 2])
def test_ctc_on_whisper_by_the_auto_class(saved, tiny_whisper, waveform, recurrent):
    model, folder = saved(tiny_whisper, kind="ctc", recurrent=recurrent)
    network = opened(AutoModelForCTC, folder)
    assert isinstance(network, speechxfer.heads.whisper_ctc.WhisperForCTC)
    logits = network(**inputs_of(folder, waveform)).logits
    with model.use_padding():
        mine = model.compute_emissions(frames_of(model, waveform)).log_probs
    torch.testing.assert_close(logits.log_softmax(-1), mine, atol=1e-4, rtol=0)
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == model.vocabulary


def test_lstm_layers_are_for_whispers_frames_and_see_an_utterance_alone(saved, make_encoder, tiny_whisper, spoken):
    model, _ = saved(tiny_whisper, kind="ctc", recurrent=1)
    assert sum(name.startswith("context.") for name, _ in model.network.named_parameters()) == 8  # both directions
    assert {id(p) for module in model.head for p in module.parameters()} >= {
        id(p) for name, p in model.network.named_parameters() if not name.startswith("encoder.")
    }
    short, long = spoken("one", 0, 0.5), spoken("six", 3, 1.4)
    together = model.infer([short, long], model.emissions)
    alone = model.infer([short], model.emissions)
    found = together.log_probs[0, : together.lengths[0]]
    torch.testing.assert_close(found, alone.log_probs[0], atol=1e-4, rtol=0)
    with pytest.raises(UserError, match=r"head\.recurrent.*wav2vec2"):
        saved(make_encoder("wav2vec2"), kind="ctc", recurrent=1)


@torch.no_grad()
def test_a_new_heads_frames_are_standardised_and_stay_so_in_the_saved_model(
    saved, make_encoder, tiny_whisper, spoken, tmp_path
):
    said = [spoken("one", 0, 0.5), spoken("six", 3, 1.4)]
    model, _ = saved(tiny_whisper, kind="ctc", recurrent=1)
    model.standardise_frames(said)
    model.save(tmp_path / "again")
    for mine in (model, speechxfer.load(tmp_path / "again")):
        frames = torch.cat([mine.infer([one], lambda frames: frames.states[0]) for one in said])
        torch.testing.assert_close(frames.mean(0), torch.zeros(frames.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(frames.std(0, correction=0), torch.ones(frames.shape[1]), atol=1e-4, rtol=0)
    other, _ = saved(make_encoder("wav2vec2"), kind="ctc")
    before = {name: weight.clone() for name, weight in other.network.state_dict().items()}
    unheard = iter(said)
    other.standardise(unheard)
    assert len(list(unheard)) == len(said)
    assert all(torch.equal(weight, before[name]) for name, weight in other.network.state_dict().items())


HEADS = [
    ("whisper", {"kind": "seq2seq"}),
    ("whisper", {"kind": "ctc"}),
    ("whisper", {"kind": "classify", "pooling": "mean"}),
    ("whisper", {"kind": "classify", "pooling": "attentive"}),
    ("conformer", {"kind": "ctc"}),
    ("hubert", {"kind": "classify", "pooling": "mean"}),
    ("bert", {"kind": "classify", "pooling": "attentive"}),
]


@pytest.mark.parametrize("pad_to_30s", [False, True])
@pytest.mark.parametrize(
    ("family", "head"), HEADS, ids=lambda value: value if isinstance(value, str) else "-".join(value.values())
)
def test_opened_by_us_it_gives_the_same_answers(saved, make_encoder, tiny_whisper, spoken, family, head, pad_to_30s):
    checkpoint = tiny_whisper if family == "whisper" else make_encoder(family)
    model, folder = saved(checkpoint, f"encoder.pad_to_30s={pad_to_30s}", **head)
    again = load(folder, device="cpu")
    assert again.settings == model.settings
    waveforms = [spoken("one", 0, 0.5), spoken("six", 3, 1.4), spoken("two", 2, 0.9)]
    answers = model.predict(waveforms)
    assert again.predict(waveforms) == answers
    assert any(answers)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    stored = json.loads((folder / "speechxfer.json").read_text())
    assert stored["base"] == str(checkpoint) and stored["kind"] == head["kind"] and stored["pad_to_30s"] is pad_to_30s


@pytest.mark.parametrize("kind", ["seq2seq", "joint", "ctc"])
def test_weights_may_be_read_by_whoever_may_read_the_rest(saved, tiny_whisper, kind):
    """safetensors writes for the user alone: a model in a shared folder would open for nobody else."""
    _, folder = saved(tiny_whisper, kind=kind)
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_a_checkpoint_whose_config_samples_or_stops_early_is_saved(tiny_whisper, tmp_path):
    """transformers writes no generation config with what its way of decoding does not use."""
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
