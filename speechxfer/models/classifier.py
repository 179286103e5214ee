"""An encoder with a classification head: spoken commands, wake words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    PreTrainedModel,
    WhisperModel,
)

from speechxfer.config.recipe import Head
from speechxfer.encoders import encoder_of
from speechxfer.encoders.whisper import UnpaddedWhisper
from speechxfer.errors import UserError, nearest
from speechxfer.heads.classify import AttentiveClassifier, AttentiveConfig, mean_over
from speechxfer.models.base import Settings, SpeechModel
from speechxfer.models.opening import config_of, pretrained
from speechxfer.shapes import Frames


class Classifier(SpeechModel):
    """`kind: classify`. labels: the class names in the order of the scores."""

    kind = "classify"

    def __init__(self, network: PreTrainedModel, extractor: Any, settings: Settings) -> None:
        whole: Any = network.encoder if hasattr(network, "encoder") else None
        if network.config.model_type == "whisper" or getattr(whole, "config", network.config).model_type == "whisper":
            encoder: Any = UnpaddedWhisper(whole, extractor, pad_to_30s=settings.pad_to_30s)
        else:
            encoder = encoder_of(whole if isinstance(network, AttentiveClassifier) else network, extractor)
        super().__init__(network, encoder, extractor, settings)
        names: Any = network.config.id2label
        self.labels = [str(names[place]) for place in range(len(names))]

    @property
    def head(self) -> list[nn.Module]:
        if isinstance(self.network, AttentiveClassifier):
            return [self.network.pool, self.network.classifier]
        return [self.network.projector, self.network.classifier]

    def targets(self, text: str) -> list[int]:
        if text not in self.labels:
            raise UserError(f"'{text}' is not one of the labels{nearest(text, self.labels)}")
        return [self.labels.index(text)]

    def scores(self, frames: Frames) -> Tensor:
        """Frames to class scores (batch, classes), not normalised."""
        if isinstance(self.network, AttentiveClassifier):
            return self.network.scores(frames)
        # as transformers pools: project each frame, then the mean over the utterance's own
        return self.network.classifier(mean_over(frames, self.network.projector(frames.states)))

    def loss(self, frames: Frames, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.scores(frames).float(), labels[:, 0], reduction="sum")

    def read(self, frames: Frames) -> list[str]:
        return [self.labels[place] for place in self.scores(frames).argmax(-1).tolist()]


def open_classifier(folder: Path, settings: Settings) -> Classifier:
    """A folder that has a classification head and its labels."""
    attentive = config_of(folder).model_type == AttentiveConfig.model_type
    network = pretrained(AttentiveClassifier if attentive else AutoModelForAudioClassification, folder)
    return Classifier(network.eval(), pretrained(AutoFeatureExtractor, folder), settings)


def new_classifier(folder: Path, settings: Settings, head: Head, texts: list[str]) -> Classifier:
    """The folder's encoder with a new head over the labels that `texts` holds."""
    labels = sorted(set(texts))
    if len(labels) < 2:
        raise UserError(
            f"a classifier needs two labels or more, and the training part has {labels}", where="data.train"
        )
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: place for place, name in enumerate(labels)}}
    config = config_of(folder)
    extractor = pretrained(AutoFeatureExtractor, folder)
    if head.pooling == "attentive":
        network: Any = _attentive(folder, config, head, names)
    elif config.model_type == "whisper":
        network = _mean(folder, names)
    else:
        network = pretrained(
            AutoModelForAudioClassification,
            folder,
            fresh=("classifier", "projector", ""),
            ignore_mismatched_sizes=True,
            use_weighted_layer_sum=False,
            **names,
        )
    return Classifier(network, extractor, settings)


def _mean(folder: Path, names: dict[str, Any]) -> PreTrainedModel:
    return pretrained(
        AutoModelForAudioClassification,
        folder,
        fresh=("classifier", "projector"),
        ignore_mismatched_sizes=True,
        use_weighted_layer_sum=False,
        **names,
    )


def _attentive(folder: Path, config: Any, head: Head, names: dict[str, Any]) -> AttentiveClassifier:
    if config.model_type == AttentiveConfig.model_type:
        before = pretrained(AttentiveClassifier, folder).encoder
        inner = config.encoder
    elif config.model_type == "whisper":
        before, inner = pretrained(WhisperModel, folder).encoder, config.to_dict()
    else:
        before, inner = pretrained(AutoModel, folder), config.to_dict()
    network = AttentiveClassifier(AttentiveConfig(encoder=inner, final_dropout=head.dropout, **names))
    network.encoder.load_state_dict(before.state_dict())
    return network
