"""Which class serves which of transformers' model types."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from speechxfer.encoders.base import SpeechEncoder
from speechxfer.encoders.whisper import UnpaddedWhisper
from speechxfer.errors import UserError


def encoder_of(model: PreTrainedModel, extractor: Any, *, pad_to_30s: bool = False) -> SpeechEncoder:
    """The encoder inside a transformers speech model, behind our interface.

    model: any head's model or the bare one (`WhisperForConditionalGeneration`, `Wav2Vec2ForCTC`, `HubertModel`, ...).
    extractor: its feature extractor. pad_to_30s: Whisper only.
    Raises UserError for a model type that has no family here.
    """
    kind = model.config.model_type
    base = model.base_model
    if kind == "whisper":
        module = base.encoder if hasattr(base, "encoder") else base
        return UnpaddedWhisper(module, extractor, pad_to_30s=pad_to_30s)
    raise UserError(f"speechxfer has no encoder for model type '{kind}'")
