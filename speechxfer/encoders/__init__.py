"""Waveforms become frames here: one interface over transformers' encoder families, split at any layer."""

from speechxfer.encoders.base import FEATURES, SpeechEncoder
from speechxfer.encoders.families import encoder_of

__all__ = ["FEATURES", "SpeechEncoder", "encoder_of"]
