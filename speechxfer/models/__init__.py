"""Encoder, head and decoding in one: a recogniser or classifier that loads, answers and saves."""

from speechxfer.models.answering import answers, cut_by_seconds
from speechxfer.models.base import WITH_DECODER, Settings, SpeechModel
from speechxfer.models.loading import load, pick_device, text_limits, to_adapt

__all__ = [
    "WITH_DECODER",
    "Settings",
    "SpeechModel",
    "answers",
    "cut_by_seconds",
    "load",
    "pick_device",
    "text_limits",
    "to_adapt",
]
