"""Recognisers and classifiers: encoder, head and decoding, loaded from and saved to one folder."""

import speechxfer.torchaudio_import  # noqa: F401  # before transformers
from speechxfer.models.base import DECODER_KINDS, ModelSettings, SpeechModel
from speechxfer.models.decoding_options import DecodingOptions
from speechxfer.models.inference import batch_by_seconds, predict_all
from speechxfer.models.loading import build_trainable, get_input_limits, load, resolve_device

__all__ = [
    "DECODER_KINDS",
    "DecodingOptions",
    "ModelSettings",
    "SpeechModel",
    "batch_by_seconds",
    "build_trainable",
    "get_input_limits",
    "load",
    "predict_all",
    "resolve_device",
]
