"""An encoder with a classification head: spoken commands, wake words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    UNUSED_WEIGHTS,
    get_encoder_config,
    load_bare_encoder,
    load_config,
    load_pretrained,
    reinit_linear,
)
from speechxfer.shapes import Frames


class Classifier(SpeechModel):
    """`kind: classify`. labels: the class names in the order of the scores."""

    kind = "classify"

    def __init__(self, network: PreTrainedModel, extractor: Any, settings: ModelSettings) -> None:
        whole: Any = network.encoder if hasattr(network, "encoder") else None
        if network.config.model_type == "whisper" or getattr(whole, "config", network.config).model_type == "whisper":
            encoder: Any = WhisperEncoderWrapper(whole, extractor, pad_to_30s=settings.pad_to_30s)
        else:
            encoder = wrap_encoder(whole if isinstance(network, AttentiveClassifier) else network, extractor)
        super().__init__(network, encoder, extractor, settings)
        names: Any = network.config.id2label
        self.labels = [str(names[place]) for place in range(len(names))]

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
        """Frames to class scores (batch, classes), not normalised."""
        if isinstance(self.network, AttentiveClassifier):
            return self.network.compute_scores(frames)
        # as transformers pools: project each frame, then the mean over the utterance's own
        return self.network.classifier(pool_mean(frames, self.network.projector(frames.states)))

    def compute_loss(self, frames: Frames, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.compute_scores(frames).float(), labels[:, 0], reduction="sum")

    def decode_frames(self, frames: Frames) -> list[str]:
        return [self.labels[place] for place in self.compute_scores(frames).argmax(-1).tolist()]


def open_classifier(folder: Path, settings: ModelSettings) -> Classifier:
    """A folder that has a classification head and its labels."""
    config = load_config(folder)
    if getattr(config, "use_weighted_layer_sum", False):
        raise UserError("its head sums the encoder's layers by weights, which is not run here", where=str(folder))
    attentive = isinstance(config, AttentiveConfig)
    network = load_pretrained(
        AttentiveClassifier if attentive else AutoModelForAudioClassification, folder, fresh=UNUSED_WEIGHTS
    )
    return Classifier(network.eval(), load_pretrained(AutoFeatureExtractor, folder), settings)


def new_classifier(folder: Path, settings: ModelSettings, head: HeadConfig, texts: list[str]) -> Classifier:
    """The folder's encoder with a new head over the labels that `texts` holds.

    A folder that tells the very same labels apart keeps its head, if it pools as `head` asks.
    """
    labels = sorted(set(texts))
    if len(labels) < 2:
        raise UserError(
            f"a classifier needs two labels or more, and the training part has {labels}", where="data.train"
        )
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: place for place, name in enumerate(labels)}}
    config = load_config(folder)
    known = dict(config.id2label or {}) == names["id2label"]
    build = _attentive if head.pooling == "attentive" else _mean
    network = build(folder, config, head, names, known)
    return Classifier(network, load_pretrained(AutoFeatureExtractor, folder), settings)


def _mean(folder: Path, config: Any, head: HeadConfig, names: dict[str, Any], known: bool) -> PreTrainedModel:
    """As transformers has it. A projector that the folder brings is kept, other labels get a new last layer."""
    stated = {"use_weighted_layer_sum": False, **names}
    if isinstance(config, AttentiveConfig | WhisperCTCConfig):
        inner = get_encoder_config(config)
        inner.update(stated)
        network = AutoModelForAudioClassification.from_config(inner)
        encoder: Any = network.encoder if inner.model_type == "whisper" else network.base_model
        encoder.load_state_dict(load_bare_encoder(folder).state_dict())
        return network
    fresh = ("classifier", "projector", *UNUSED_WEIGHTS)
    network = load_pretrained(
        AutoModelForAudioClassification, folder, fresh=fresh, ignore_mismatched_sizes=True, **stated
    )
    if not known or getattr(config, "use_weighted_layer_sum", False):
        reinit_linear(network.classifier, getattr(config, "initializer_range", None) or config.init_std)
    return network


def _attentive(folder: Path, config: Any, head: HeadConfig, names: dict[str, Any], known: bool) -> AttentiveClassifier:
    inner = get_encoder_config(config)
    network = AttentiveClassifier(AttentiveConfig(encoder=inner.to_dict(), final_dropout=head.dropout, **names))
    if isinstance(config, AttentiveConfig):
        before = load_pretrained(AttentiveClassifier, folder)
        network.pool.load_state_dict(before.pool.state_dict())
        if known:
            network.classifier.load_state_dict(before.classifier.state_dict())
        network.encoder.load_state_dict(before.encoder.state_dict())
    else:
        network.encoder.load_state_dict(load_bare_encoder(folder).state_dict())
    return network
