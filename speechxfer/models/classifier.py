"""Utterance classifier: an encoder with a classification head, for spoken commands, accents or languages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, PreTrainedModel

from speechxfer.config.recipe import HeadConfig
from speechxfer.encoders import wrap_encoder
from speechxfer.encoders.whisper import WhisperEncoderWrapper
from speechxfer.errors import UserError, suggest_nearest
from speechxfer.heads.classification import AttentiveClassifier, AttentiveConfig, pool_mean
from speechxfer.heads.whisper_ctc import WhisperCTCConfig
from speechxfer.models.base import ModelSettings, SpeechModel
from speechxfer.models.pretrained import (
    get_encoder_config,
    load_bare_encoder,
    load_config,
    load_pretrained,
    reinit_linear,
)
from speechxfer.scoring.labels import UNKNOWN_LABEL
from speechxfer.shapes import Frames


@dataclass(frozen=True)
class LabelPrediction:
    """A predicted label.

    Attributes:
        label: the best label, or `UNKNOWN_LABEL` if it is rejected.
        score: probability of the best label other than `UNKNOWN_LABEL`.
        probabilities: of all labels, the highest first.
    """

    label: str
    score: float
    probabilities: dict[str, float]


def make_label_prediction(probabilities: Mapping[str, float], reject_below: float | None) -> LabelPrediction:
    """Predict a label from the probabilities of all labels.

    reject_below: the best label other than `UNKNOWN_LABEL` is rejected below this probability; without it the label
    with the highest probability is predicted, whichever it is.
    """
    ranked = dict(sorted(probabilities.items(), key=lambda item: -item[1]))
    best = next(iter(ranked))
    known = next((label for label in ranked if label != UNKNOWN_LABEL), best)
    if reject_below is not None:
        best = known if ranked[known] >= reject_below else UNKNOWN_LABEL
    return LabelPrediction(best, ranked[known], ranked)


class Classifier(SpeechModel):
    """Utterance classifier (`kind: classify`).

    Attributes:
        labels: class names in the order of the scores.
        class_weights: (classes,) weight of each label in the loss, for training; None weighs all alike.

    With `settings.reject_below` a label whose probability is lower is predicted as `UNKNOWN_LABEL`. That label may be a
    class too, trained on audio that has none of the others.
    """

    kind = "classify"

    def __init__(self, network: PreTrainedModel, extractor: Any, settings: ModelSettings) -> None:
        module: Any = network.encoder if hasattr(network, "encoder") else None
        if network.config.model_type == "whisper" or getattr(module, "config", network.config).model_type == "whisper":
            encoder: Any = WhisperEncoderWrapper(module, extractor, pad_to_30s=settings.pad_to_30s)
        else:
            encoder = wrap_encoder(module if isinstance(network, AttentiveClassifier) else network, extractor)
        super().__init__(network, encoder, extractor, settings)
        names: Any = network.config.id2label
        self.labels = [str(names[index]) for index in range(len(names))]
        self.class_weights: Tensor | None = None

    @property
    def head(self) -> list[nn.Module]:
        if isinstance(self.network, AttentiveClassifier):
            return [self.network.pool, self.network.classifier]
        return [self.network.projector, self.network.classifier]

    def encode_target(self, text: str) -> list[int]:
        if text not in self.labels:
            raise UserError(f"'{text}' is not one of the labels{suggest_nearest(text, self.labels)}")
        return [self.labels.index(text)]

    def compute_scores(self, frames: Frames) -> Tensor:
        """Compute class scores (batch, classes), not normalised."""
        if isinstance(self.network, AttentiveClassifier):
            return self.network.compute_scores(frames)
        # transformers' pooling: project every frame, then average over the frames that are not padding
        return self.network.classifier(pool_mean(frames, self.network.projector(frames.states)))

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        scores = self.compute_scores(frames).float()
        weights = None if self.class_weights is None else self.class_weights.to(scores.device)
        return F.cross_entropy(scores, labels[:, 0], weights, reduction="sum")

    def decode_frames(self, frames: Frames) -> list[str]:
        return [prediction.label for prediction in self.rank_labels(frames)]

    def predict_labels(self, waveforms: Sequence[np.ndarray]) -> list[LabelPrediction]:
        """Predict the label of each waveform, (time,) float32 at 16 kHz, with the probabilities of all labels."""
        return self.infer(waveforms, self.rank_labels)

    def rank_labels(self, frames: Frames) -> list[LabelPrediction]:
        """Predict the label of each utterance, with the probabilities of all labels, the highest first."""
        rows = self.compute_scores(frames).float().softmax(-1).tolist()
        named = (dict(zip(self.labels, row, strict=True)) for row in rows)
        return [make_label_prediction(probabilities, self.settings.reject_below) for probabilities in named]


def open_classifier(folder: Path, settings: ModelSettings) -> Classifier:
    """Load a model with a classification head and its labels."""
    config = load_config(folder)
    if getattr(config, "use_weighted_layer_sum", False):
        raise UserError("classifiers on a weighted sum of layers are not supported", where=str(folder))
    attentive = isinstance(config, AttentiveConfig)
    network = load_pretrained(AttentiveClassifier if attentive else AutoModelForAudioClassification, folder)
    return Classifier(network.eval(), load_pretrained(AutoFeatureExtractor, folder), settings)


def build_classifier(folder: Path, settings: ModelSettings, head: HeadConfig, texts: list[str]) -> Classifier:
    """Build the folder's encoder with a new classification head over the labels in `texts`.

    The head of a folder that has exactly these labels is kept if its pooling is that of `head`.
    """
    labels = sorted(set(texts))
    if len(labels) < 2:
        found = f"only '{labels[0]}'" if labels else "none"
        fix = "add utterances with a second label, or check the column 'label'"
        raise UserError(
            f"a classifier needs at least two labels; the training data has {found}", where="data.train", fix=fix
        )
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
    config = load_config(folder)
    same_labels = dict(config.id2label or {}) == names["id2label"]
    if head.pooling == "attentive":
        network: PreTrainedModel = _build_attentive(folder, config, head, names, same_labels)
    else:
        network = _build_mean_pooling(folder, config, names, same_labels)
    model = Classifier(network, load_pretrained(AutoFeatureExtractor, folder), settings)
    if head.class_weights == "balanced":
        model.class_weights = compute_balanced_weights(texts, labels)
    return model


def compute_balanced_weights(texts: Sequence[str], labels: Sequence[str]) -> Tensor:
    """Compute (classes,) weights that give every label the same sum over the training data, on average 1.

    As scikit-learn's class_weight="balanced": utterances / (classes * utterances of the label).
    """
    counts = Counter(texts)
    return torch.tensor([len(texts) / (len(labels) * counts[label]) for label in labels])


def _build_mean_pooling(folder: Path, config: Any, names: dict[str, Any], same_labels: bool) -> PreTrainedModel:
    """Build transformers' classifier: keep the folder's projector, and its last layer for the same labels."""
    options = {"use_weighted_layer_sum": False, **names}
    if isinstance(config, AttentiveConfig | WhisperCTCConfig):
        encoder_config = get_encoder_config(config)
        encoder_config.update(options)
        network = AutoModelForAudioClassification.from_config(encoder_config)
        encoder: Any = network.encoder if encoder_config.model_type == "whisper" else network.base_model
        encoder.load_state_dict(load_bare_encoder(folder).state_dict())
        return network
    fresh = ("classifier", "projector")
    network = load_pretrained(
        AutoModelForAudioClassification, folder, fresh=fresh, ignore_mismatched_sizes=True, **options
    )
    if not same_labels or getattr(config, "use_weighted_layer_sum", False):
        reinit_linear(network.classifier, getattr(config, "initializer_range", None) or config.init_std)
    return network


def _build_attentive(
    folder: Path, config: Any, head: HeadConfig, names: dict[str, Any], same_labels: bool
) -> AttentiveClassifier:
    encoder_config = get_encoder_config(config)
    network = AttentiveClassifier(
        AttentiveConfig(encoder=encoder_config.to_dict(), final_dropout=head.dropout, **names)
    )
    if isinstance(config, AttentiveConfig):
        before = load_pretrained(AttentiveClassifier, folder)
        network.pool.load_state_dict(before.pool.state_dict())
        if same_labels:
            network.classifier.load_state_dict(before.classifier.state_dict())
        network.encoder.load_state_dict(before.encoder.state_dict())
    else:
        network.encoder.load_state_dict(load_bare_encoder(folder).state_dict())
    return network
