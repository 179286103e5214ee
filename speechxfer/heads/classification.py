"""Utterance classification: pooling of frames, and class scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    PretrainedConfig,
    PreTrainedModel,
    WhisperConfig,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechxfer.shapes import Frames, length_mask


def pool_mean(frames: Frames, states: Tensor) -> Tensor:
    """Average (batch, frames, dim) over each utterance's valid frames: (batch, dim)."""
    mask = length_mask(frames.lengths, states.shape[1], states.device)[:, :, None].to(states.dtype)
    return (states * mask).sum(1) / mask.sum(1)


class AttentiveStatistics(nn.Module):
    """Attentive statistics pooling (Okabe et al. 2018): attention-weighted mean and standard deviation.

    (batch, frames, dim) to (batch, 2 * dim).
    """

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, frames: Frames) -> Tensor:
        states = frames.states
        beyond = ~length_mask(frames.lengths, states.shape[1], states.device)
        scores = self.attention(states)[:, :, 0].float().masked_fill(beyond, float("-inf"))
        weights = scores.softmax(1)[:, :, None].to(states.dtype)
        mean = (weights * states).sum(1)
        spread = (weights * (states - mean[:, None]).square()).sum(1).clamp(min=1e-6).sqrt()
        return torch.cat([mean, spread], dim=1)


class AttentiveConfig(PretrainedConfig):
    """encoder: the encoder's configuration as a mapping. `num_labels` and `id2label` as in transformers."""

    model_type = "speechxfer-attentive-classifier"

    def __init__(self, encoder: dict[str, Any] | None = None, final_dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.final_dropout = encoder or {}, final_dropout


class AttentiveClassifier(PreTrainedModel):
    """An encoder, attentive statistics pooling and a linear layer (transformers has mean pooling only).

    `forward` takes the inputs of transformers' encoder (Whisper: 30 s of log-mel); speechxfer runs the encoder on the
    utterance's own length.
    """

    config_class = AttentiveConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True

    def __init__(self, config: AttentiveConfig) -> None:
        super().__init__(config)
        inner = AutoConfig.for_model(**config.encoder)
        self.encoder: Any = WhisperEncoder(inner) if isinstance(inner, WhisperConfig) else AutoModel.from_config(inner)
        dim: Any = inner.d_model if isinstance(inner, WhisperConfig) else inner.hidden_size
        self.pool = AttentiveStatistics(dim)
        self.dropout = nn.Dropout(config.final_dropout)
        classes: Any = config.num_labels
        self.classifier = nn.Linear(2 * dim, classes)
        self.post_init()

    def compute_scores(self, frames: Frames) -> Tensor:
        """Compute logits (batch, classes)."""
        return self.classifier(self.dropout(self.pool(frames)))

    def forward(
        self,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Compute logits from input_values (batch, time) or input_features, as the encoder's extractor returns them."""
        inputs = input_features if input_values is None else input_values
        if isinstance(self.encoder, WhisperEncoder):
            attention_mask = None  # Whisper attends to its padding
            states = self.encoder(inputs).last_hidden_state
        else:
            states = self.encoder(inputs, attention_mask=attention_mask).last_hidden_state
        lengths = torch.full((len(states),), states.shape[1])
        if attention_mask is not None:
            lengths = self.encoder._get_feature_vector_attention_mask(states.shape[1], attention_mask).sum(-1).cpu()
        return SequenceClassifierOutput(logits=self.compute_scores(Frames(states, lengths)))


AutoConfig.register(AttentiveConfig.model_type, AttentiveConfig)
AutoModelForAudioClassification.register(AttentiveConfig, AttentiveClassifier)
