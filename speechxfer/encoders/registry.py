"""Registry of the encoder classes by transformers' model type."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like
from speechxfer.encoders.base import SpeechEncoder
from speechxfer.encoders.conformer import Conformer
from speechxfer.encoders.data2vec import Data2VecAudio
from speechxfer.encoders.hubert import Hubert
from speechxfer.encoders.wav2vec2 import Wav2Vec2
from speechxfer.encoders.wav2vec2_bert import Wav2Vec2Bert
from speechxfer.encoders.wavlm import WavLM
from speechxfer.encoders.whisper import WhisperEncoderWrapper
from speechxfer.errors import UserError, suggest_nearest

_WAV2VEC2_LIKE: dict[str, type[Wav2Vec2Like]] = {
    kind.family: kind for kind in (Wav2Vec2, Hubert, WavLM, Data2VecAudio, Conformer, Wav2Vec2Bert)
}
MODEL_TYPES = ("whisper", *_WAV2VEC2_LIKE)  # XLS-R and MMS have the type wav2vec2


def wrap_encoder(model: PreTrainedModel, extractor: Any, *, pad_to_30s: bool = False) -> SpeechEncoder:
    """Wrap the encoder of a transformers speech model as a `SpeechEncoder`.

    model: with any head or none (`WhisperForConditionalGeneration`, `Wav2Vec2ForCTC`, `HubertModel`, ...).
    extractor: its feature extractor. pad_to_30s: Whisper only.
    Raises: UserError for an unsupported model type, a flash attention kernel, or another sampling rate than 16 kHz.
    """
    kind = model.config.model_type
    base: Any = model.base_model
    if kind == "whisper":
        return WhisperEncoderWrapper(getattr(base, "encoder", base), extractor, pad_to_30s=pad_to_30s)
    if kind in _WAV2VEC2_LIKE:
        return _WAV2VEC2_LIKE[kind](base, extractor)
    raise UserError(
        f"no encoder for model type '{kind}'{suggest_nearest(kind, MODEL_TYPES)}",
        where=str(getattr(model.config, "_name_or_path", "")) or None,
        fix=f"use a checkpoint of one of these types: {', '.join(MODEL_TYPES)}",
    )
