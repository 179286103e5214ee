"""UniSpeech (Wang et al. 2021), whose encoder is wav2vec2's: frames that do not depend on the batch come from there."""

from __future__ import annotations

from typing import Any

from speechxfer.encoders.base import SpeechEncoder
from speechxfer.encoders.wav2vec2 import Wav2Vec2


class UniSpeech(Wav2Vec2):
    family = "unispeech"


def wrap_unispeech(model: Any, extractor: Any, *, pad_to_30s: bool = False) -> SpeechEncoder:
    return UniSpeech(model, extractor)
