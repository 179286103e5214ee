"""MODEL may be an earlier run: its encoder goes on under any head, and a head is kept only where it means the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from speechxfer.config import load_recipe
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel, build_trainable, get_input_limits, load

Head = dict[str, str]
SEQ2SEQ: Head = {"kind": "seq2seq"}
CTC: Head = {"kind": "ctc"}
OWN: Head = {"kind": "ctc", "vocabulary": "own"}
MEAN: Head = {"kind": "classify", "pooling": "mean"}
ATTENTIVE: Head = {"kind": "classify", "pooling": "attentive"}
TEXTS = ["one", "two", "six"]


def get_detector_name(head: Head) -> str:
    return head.get("pooling", head["kind"])


@pytest.fixture
def adapt_to(tmp_path: Path) -> Callable[..., tuple[SpeechModel, Path]]:
    """adapt_to(checkpoint, head, texts): the model ready to train, and where it was saved, all its weights moved."""

    def make(checkpoint: Path, head: Head, texts: list[str] = TEXTS) -> tuple[SpeechModel, Path]:
        values = {"encoder": {"name": str(checkpoint)}, "head": head, "device": "cpu"}
        stages = [{"train": "head", "epochs": 1, "lr": 1}]
        model = build_trainable(load_recipe(values | {"stages": stages}), texts)
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.add_(0.01)
        folder = tmp_path / f"{checkpoint.name}-{get_detector_name(head)}"
        model.save(folder)
        return model, folder

    return make


def ready(checkpoint: Path, head: Head, texts: list[str] = TEXTS) -> SpeechModel:
    stages = [{"train": "head", "epochs": 1, "lr": 1}]
    return build_trainable(
        load_recipe({"encoder": {"name": str(checkpoint)}, "head": head, "device": "cpu", "stages": stages}), texts
    )


def state(module: Any) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items() if "masked_spec_embed" not in key}


def equal(one: Any, other: Any) -> bool:
    left, right = state(one), state(other)
    return left.keys() == right.keys() and all(left[key].equal(right[key]) for key in left)


@pytest.mark.parametrize("then", [CTC, MEAN, ATTENTIVE], ids=get_detector_name)
@pytest.mark.parametrize("first", [SEQ2SEQ, CTC, MEAN, ATTENTIVE], ids=get_detector_name)
def test_on_whisper(adapt_to, tiny_whisper, spoken, first, then):
    earlier, folder = adapt_to(tiny_whisper, first)
    model = ready(folder, then)
    assert equal(earlier.encoder.module, model.encoder.module)
    assert model.kind == then["kind"] and len(model.predict([spoken("one", 0, 0.5)])) == 1
    assert get_input_limits(
        folder, head=load_recipe({"stages": [{"train": "head", "epochs": 1, "lr": 1}]}).head
    ).max_seconds


@pytest.mark.parametrize("then", [CTC, MEAN, ATTENTIVE], ids=get_detector_name)
@pytest.mark.parametrize("first", [CTC, MEAN, ATTENTIVE], ids=get_detector_name)
@pytest.mark.parametrize("family", ["hubert", "bert"])
def test_on_the_other_families(adapt_to, make_encoder, spoken, family, first, then):
    earlier, folder = adapt_to(make_encoder(family), first)
    model = ready(folder, then)
    assert equal(earlier.encoder.module, model.encoder.module)
    assert model.kind == then["kind"] and len(model.predict([spoken("one", 0, 0.5)])) == 1


@pytest.mark.parametrize("first", [CTC, MEAN, ATTENTIVE], ids=get_detector_name)
def test_a_decoder_that_is_gone_is_not_asked_for(adapt_to, tiny_whisper, first):
    _, folder = adapt_to(tiny_whisper, first)
    for ask in (lambda: ready(folder, SEQ2SEQ), lambda: get_input_limits(folder, head=ready(folder, CTC) and _head())):
        with pytest.raises(UserError, match="keeps Whisper's own decoder") as caught:
            ask()
        assert "head.kind=ctc" in str(caught.value)


def _head() -> Any:
    return load_recipe({"head": SEQ2SEQ, "stages": [{"train": "head", "epochs": 1, "lr": 1}]}).head


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_its_own_vocabulary_goes_on_and_a_new_one_starts_anew(adapt_to, make_encoder, tiny_whisper, family):
    earlier, folder = adapt_to(tiny_whisper if family == "whisper" else make_encoder(family), CTC)
    own = ready(folder, OWN, ["another text"])
    assert own.vocabulary == earlier.vocabulary and equal(own.network.lm_head, earlier.network.lm_head)
    assert own.encode_target("one six") == earlier.encode_target("one six")
    with pytest.raises(UserError, match="holds z, which the vocabulary lacks"):
        own.encode_target("oz")
    other = ready(folder, CTC, ["abcdefghi"])
    assert len(other.vocabulary) == len(earlier.vocabulary) + 1
    same_size = ready(folder, CTC, ["abcdefgh"])  # as many symbols, and others
    assert len(same_size.vocabulary) == len(earlier.vocabulary)
    for anew in (other, same_size):
        assert not anew.network.lm_head.weight.detach()[3:5].equal(earlier.network.lm_head.weight.detach()[3:5])
        assert not anew.network.lm_head.bias.detach().any()


def test_a_checkpoint_without_letters_has_none_of_its_own(tiny_whisper, make_encoder):
    for checkpoint in (tiny_whisper, make_encoder("wav2vec2")):
        with pytest.raises(UserError, match="no CTC head of its own") as caught:
            ready(checkpoint, OWN)
        assert "from-train" in str(caught.value)


def test_a_published_ctc_checkpoint_in_capitals(make_encoder):
    model = ready(make_encoder("wav2vec2", words="ONE TWO"), OWN)
    assert model.encode_target("one two") == model.encode_target("ONE TWO")
    assert "".join({place: s for s, place in model.vocabulary.items()}[p] for p in model.encode_target("two")) == "TWO"


@pytest.mark.parametrize("head", [MEAN, ATTENTIVE], ids=get_detector_name)
@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_a_classifier_of_the_same_labels_keeps_its_head(adapt_to, make_encoder, tiny_whisper, family, head):
    earlier, folder = adapt_to(tiny_whisper if family == "whisper" else make_encoder(family), head)
    again = ready(folder, head, [*TEXTS, *TEXTS])
    assert again.labels == earlier.labels == sorted(TEXTS)
    assert equal(again.network.classifier, earlier.network.classifier)
    renamed = ready(folder, head, ["no", "yes", "maybe"])  # as many labels, and others
    assert renamed.labels == ["maybe", "no", "yes"]
    assert not renamed.network.classifier.weight.detach().equal(earlier.network.classifier.weight.detach())
    assert ready(folder, head, ["no", "yes"]).network.classifier.weight.shape[0] == 2


def test_one_label_is_no_choice(tiny_whisper):
    with pytest.raises(UserError, match="two labels or more"):
        ready(tiny_whisper, MEAN, ["one", "one"])


def test_layers_summed_by_weights_are_not_run_as_if_they_were_not(make_encoder, tmp_path):
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    checkpoint = make_encoder("wav2vec2", labels=TEXTS)
    network = AutoModelForAudioClassification.from_pretrained(checkpoint, use_weighted_layer_sum=True)
    network.save_pretrained(tmp_path / "summed")
    AutoFeatureExtractor.from_pretrained(checkpoint).save_pretrained(tmp_path / "summed")
    with pytest.raises(UserError, match="sums the encoder's layers"):
        load(tmp_path / "summed", device="cpu")
    model = ready(tmp_path / "summed", MEAN)  # its encoder is as good as any
    assert not model.network.config.use_weighted_layer_sum
    assert not model.network.classifier.weight.detach().equal(network.classifier.weight.detach())
