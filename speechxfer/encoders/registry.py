"""Registry of the encoder classes by transformers' model type."""

from __future__ import annotations

from typing import Any, Protocol

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
from speechxfer.registry import Registry


class EncoderFactory(Protocol):
    """Wraps the encoder of a transformers model.

    model: without its head, e.g. `Wav2Vec2Model`. extractor: its feature extractor. pad_to_30s: Whisper only.
    """

    def __call__(self, model: Any, extractor: Any, *, pad_to_30s: bool = False) -> SpeechEncoder: ...


# by transformers' `model_type`; XLS-R and MMS have the type wav2vec2
ENCODERS: Registry[EncoderFactory] = Registry(
    "speechxfer.encoders", "model type", fix="use a checkpoint of one of these types: {}"
)


@ENCODERS.register("whisper")
def wrap_whisper(model: Any, extractor: Any, *, pad_to_30s: bool = False) -> SpeechEncoder:
    return WhisperEncoderWrapper(getattr(model, "encoder", model), extractor, pad_to_30s=pad_to_30s)


def _make_factory(kind: type[Wav2Vec2Like]) -> EncoderFactory:
    return lambda model, extractor, *, pad_to_30s=False: kind(model, extractor)


for _kind in (Wav2Vec2, Hubert, WavLM, Data2VecAudio, Conformer, Wav2Vec2Bert):
    ENCODERS.register(_kind.family)(_make_factory(_kind))


def wrap_encoder(model: PreTrainedModel, extractor: Any, *, pad_to_30s: bool = False) -> SpeechEncoder:
    """Wrap the encoder of a transformers speech model as a `SpeechEncoder`.

    model: with any head or none (`WhisperForConditionalGeneration`, `Wav2Vec2ForCTC`, `HubertModel`, ...).
    extractor: its feature extractor. pad_to_30s: Whisper only.
    Raises: UserError for an unsupported model type, a flash attention kernel, or another sampling rate than 16 kHz.
    """
    where = str(getattr(model.config, "_name_or_path", "")) or None
    factory = ENCODERS.get(model.config.model_type, where=where)
    return factory(model.base_model, extractor, pad_to_30s=pad_to_30s)
