"""Classification heads: as transformers computes them, and kept only for the same labels."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    WhisperForAudioClassification,
)

from speechxfer.errors import UserError
from speechxfer.heads.classification import AttentiveClassifier
from speechxfer.models import (
    load,
)
from speechxfer.models.classifier import compute_balanced_weights, make_label_prediction

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec", "conformer", "bert")
SAVED_TEXTS = ["one", "two", "six one"]  # those of `save_untrained`


MEAN = {"kind": "classify", "pooling": "mean"}
ATTENTIVE = {"kind": "classify", "pooling": "attentive"}
TEXTS = ["one", "two", "six"]


def get_head_name(head: dict[str, str]) -> str:
    return head.get("pooling", head["kind"])


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_classification_heads(
    save_untrained, make_encoder, waveform, family, open_strictly, extract_features, compute_frames
):
    model, folder = save_untrained(make_encoder(family), kind="classify", pooling="mean")
    network = open_strictly(AutoModelForAudioClassification, folder)
    assert type(network).__module__.startswith("transformers.")
    logits = network(**extract_features(folder, waveform)).logits
    torch.testing.assert_close(logits, model.compute_scores(compute_frames(model, waveform)), atol=1e-4, rtol=0)
    assert [network.config.id2label[int(logits.argmax())]] == model.predict([waveform])
    assert sorted(network.config.label2id) == sorted(SAVED_TEXTS)


@torch.no_grad()
def test_a_classification_head_on_whisper(
    save_untrained, tiny_whisper, waveform, open_strictly, extract_features, compute_frames
):
    model, folder = save_untrained(tiny_whisper, kind="classify", pooling="mean")
    logits = open_strictly(WhisperForAudioClassification, folder)(**extract_features(folder, waveform)).logits
    with model.use_padding():
        torch.testing.assert_close(logits, model.compute_scores(compute_frames(model, waveform)), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("family", ["whisper", *FAMILIES])
def test_attentive_pooling_by_the_auto_class(
    save_untrained, make_encoder, tiny_whisper, waveform, family, open_strictly, extract_features, compute_frames
):
    checkpoint = tiny_whisper if family == "whisper" else make_encoder(family)
    model, folder = save_untrained(checkpoint, kind="classify", pooling="attentive")
    network = open_strictly(AutoModelForAudioClassification, folder)
    assert isinstance(network, AttentiveClassifier)
    logits = network(**extract_features(folder, waveform)).logits
    with model.use_padding():
        torch.testing.assert_close(logits, model.compute_scores(compute_frames(model, waveform)), atol=1e-4, rtol=0)


@torch.no_grad()
def test_attentive_pooling_in_transformers_ignores_padding(
    save_untrained, make_encoder, make_speech, waveform, open_strictly, compute_frames
):
    model, folder = save_untrained(
        make_encoder("bert"), kind="classify", pooling="attentive"
    )  # whose own forward masks padding
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    batch = [waveform, make_speech("one", 0, 0.5)]
    inputs = extractor(batch, sampling_rate=16_000, return_tensors="pt", padding=True, return_attention_mask=True)
    logits = open_strictly(AutoModelForAudioClassification, folder)(**inputs).logits
    torch.testing.assert_close(logits[1:], model.compute_scores(compute_frames(model, batch[1])), atol=1e-4, rtol=0)


@pytest.mark.parametrize("head", [MEAN, ATTENTIVE], ids=get_head_name)
@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_a_classifier_of_the_same_labels_keeps_its_head(
    save_perturbed, make_encoder, tiny_whisper, family, head, build, have_equal_weights
):
    earlier, folder = save_perturbed(tiny_whisper if family == "whisper" else make_encoder(family), head)
    again = build(folder, head, [*TEXTS, *TEXTS])
    assert again.labels == earlier.labels == sorted(TEXTS)
    assert have_equal_weights(again.network.classifier, earlier.network.classifier)
    renamed = build(folder, head, ["no", "yes", "maybe"])  # the same number of other labels
    assert renamed.labels == ["maybe", "no", "yes"]
    assert not renamed.network.classifier.weight.detach().equal(earlier.network.classifier.weight.detach())
    assert build(folder, head, ["no", "yes"]).network.classifier.weight.shape[0] == 2


def test_a_single_label_is_refused(tiny_whisper, build):
    with pytest.raises(UserError, match="at least two labels"):
        build(tiny_whisper, MEAN, ["one", "one"])


def test_a_weighted_sum_of_layers_is_refused(make_encoder, tmp_path, build):
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    checkpoint = make_encoder("wav2vec2", labels=TEXTS)
    network = AutoModelForAudioClassification.from_pretrained(checkpoint, use_weighted_layer_sum=True)
    network.save_pretrained(tmp_path / "summed")
    AutoFeatureExtractor.from_pretrained(checkpoint).save_pretrained(tmp_path / "summed")
    with pytest.raises(UserError, match="weighted sum of layers"):
        load(tmp_path / "summed", device="cpu")
    model = build(tmp_path / "summed", MEAN)  # the encoder itself is supported
    assert not model.network.config.use_weighted_layer_sum
    assert not model.network.classifier.weight.detach().equal(network.classifier.weight.detach())


def test_balanced_weights_give_every_label_the_same_sum() -> None:
    texts = ["zero"] * 30 + ["one", "two"]
    weights = compute_balanced_weights(texts, ["one", "two", "zero"])
    torch.testing.assert_close(weights, torch.tensor([32 / 3, 32 / 3, 32 / 90]))
    per_utterance = [weights[["one", "two", "zero"].index(text)] for text in texts]
    assert float(sum(per_utterance)) == pytest.approx(32)  # on average 1


@torch.no_grad()
def test_the_loss_is_weighted_by_the_label(build, tiny_whisper, waveform, compute_frames) -> None:
    """Against torch's own weighted loss; without weights it is the plain one."""
    texts = ["one"] * 9 + ["two"] * 3
    plain = build(tiny_whisper, MEAN, texts)
    weighted = build(tiny_whisper, {**MEAN, "class_weights": "balanced"}, texts)
    weighted.network.load_state_dict(plain.network.state_dict())
    frames, target = compute_frames(plain, waveform), torch.tensor([[1]])
    loss = torch.nn.functional.cross_entropy(plain.compute_scores(frames), target[:, 0], reduction="sum")
    torch.testing.assert_close(plain.compute_loss(frames, target), loss)
    torch.testing.assert_close(weighted.compute_loss(frames, target), 2 * loss)  # 12 / (2 * 3)


@pytest.mark.parametrize(
    ("probabilities", "reject_below", "label", "score"),
    [
        ({"no": 0.2, "yes": 0.8}, None, "yes", 0.8),
        ({"no": 0.2, "yes": 0.8}, 0.7, "yes", 0.8),
        ({"no": 0.2, "yes": 0.8}, 0.9, "unknown", 0.8),
        ({"no": 0.3, "unknown": 0.6, "yes": 0.1}, None, "unknown", 0.3),
        ({"no": 0.3, "unknown": 0.6, "yes": 0.1}, 0.2, "no", 0.3),  # the threshold decides
        ({"no": 0.3, "unknown": 0.6, "yes": 0.1}, 0.4, "unknown", 0.3),
    ],
)
def test_a_label_is_rejected_below_the_threshold(probabilities, reject_below, label, score) -> None:
    found = make_label_prediction(probabilities, reject_below)
    assert (found.label, found.score) == (label, score)
    assert list(found.probabilities.values()) == sorted(probabilities.values(), reverse=True)


@torch.no_grad()
def test_the_threshold_is_saved_and_used(build, tiny_whisper, waveform, tmp_path) -> None:
    model = build(tiny_whisper, MEAN)
    (plain,) = model.predict_labels([waveform])
    assert sum(plain.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert model.predict([waveform]) == [plain.label] == [max(plain.probabilities, key=plain.probabilities.get)]
    model.settings.reject_below = plain.score + 0.01
    model.save(tmp_path / "saved")
    again = load(tmp_path / "saved", device="cpu")
    assert again.predict([waveform]) == ["unknown"] and again.labels == model.labels
