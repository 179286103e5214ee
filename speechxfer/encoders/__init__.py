"""Speech encoders: one interface over transformers' encoder families, which can be split at any layer."""

import speechxfer.torchaudio_import  # noqa: F401  # before transformers
from speechxfer.encoders.base import FEATURE_OUTPUT, SpeechEncoder
from speechxfer.encoders.registry import wrap_encoder

__all__ = ["FEATURE_OUTPUT", "SpeechEncoder", "wrap_encoder"]
