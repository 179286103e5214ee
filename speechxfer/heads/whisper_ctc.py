"""Whisper's encoder with a CTC head, registered with transformers' Auto classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCTC, PreTrainedModel, WhisperConfig
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechxfer.heads.bilstm import BiLSTM


class WhisperCTCConfig(WhisperConfig):
    """Whisper's configuration and that of the CTC head.

    symbols: size of the CTC vocabulary. final_dropout: before the head. recurrent: number of bidirectional LSTM layers.
    """

    model_type = "speechxfer-whisper-ctc"

    def __init__(self, symbols: int = 32, final_dropout: float = 0.0, recurrent: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.symbols, self.final_dropout, self.recurrent = symbols, final_dropout, recurrent


class WhisperForCTC(PreTrainedModel):
    """Encoder, dropout, optional LSTM layers, a linear layer.

    `forward` takes 30 s of log-mel, like transformers' encoder; speechxfer runs the encoder on the utterance's own
    length.
    """

    config_class = WhisperCTCConfig
    base_model_prefix = "encoder"
    main_input_name = "input_features"
    _supports_sdpa = True

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.dropout = nn.Dropout(config.final_dropout)
        self.context = (
            BiLSTM(config.d_model, config.recurrent, dropout=config.final_dropout) if config.recurrent else None
        )
        self.lm_head = nn.Linear(config.d_model, config.symbols)
        self.post_init()

    def forward(self, input_features: Tensor, **_: Any) -> CausalLMOutput:
        """Compute logits (batch, 1500, symbols) from input_features (batch, mels, 3000)."""
        states = self.encoder(input_features).last_hidden_state
        return CausalLMOutput(logits=self.compute_logits(states, torch.full(states.shape[:1], states.shape[1])))

    def compute_logits(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Compute logits (batch, frames, symbols) from encoder states (batch, frames, dim) and their lengths."""
        states = self.dropout(states)
        if self.context is not None:
            states = self.dropout(self.context(states, lengths))
        return self.lm_head(states)


AutoConfig.register(WhisperCTCConfig.model_type, WhisperCTCConfig)
AutoModelForCTC.register(WhisperCTCConfig, WhisperForCTC)
