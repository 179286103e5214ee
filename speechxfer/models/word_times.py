"""Start, end and confidence of each word of a text, by forced alignment with a model's CTC head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np

from speechxfer.decoding.forced_alignment import Alignment, WordTiming, align_words
from speechxfer.errors import UserError
from speechxfer.models.base import SpeechModel
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.models.joint import JointRecogniser
from speechxfer.shapes import Emissions, Frames

CtcModel = CtcRecogniser | JointRecogniser


def require_ctc(model: SpeechModel, where: str) -> CtcModel:
    """Return the model if it has a CTC head; otherwise raise UserError about `where`."""
    if isinstance(model, CtcModel):
        return model
    raise UserError(
        f"word times need a CTC head; a model of kind {model.kind} has none",
        where=where,
        fix="train one together with Whisper's decoder: speechxfer adapt accent-best",
    )


def align_targets(model: CtcModel, emissions: Emissions, targets: Sequence[Sequence[int]]) -> list[Alignment | None]:
    """Align each utterance with its target ids (`decoding.forced_alignment.align_words`).

    Times are relative to the start of the utterance's audio. emissions: log_probs (batch, frames, vocab), on any
    device.
    """
    return align_words(
        Emissions(emissions.log_probs.cpu(), emissions.lengths),
        targets,
        model.labels,
        blank=model.blank,
        frame_seconds=model.encoder.frame_seconds,
        offset=-model.settings.pad_silence,
    )


def time_words(model: CtcModel, emissions: Emissions, texts: Sequence[str]) -> list[list[WordTiming]]:
    """Return the words of each text, spelled as in the text, with times and confidences.

    A word without any character in the CTC vocabulary (e.g. a number in figures) is left out. A text with more symbols
    than the utterance has frames gets no words. For a vocabulary without a space the whole text counts as one word.
    emissions: as in `align_targets`.
    """
    space = model.labels.index(" ") if " " in model.labels else None
    encoded: list[list[tuple[str, list[int]]]] = []
    for text in texts:
        words = text.split() if space is not None else [text]
        pairs = ((word, _trim_spaces(model.encode_known(word), space)) for word in words)
        encoded.append([(word, ids) for word, ids in pairs if ids])
    targets = [_join_words([ids for _, ids in words], space) for words in encoded]
    return [
        [] if alignment is None else _restore_words(words, alignment.words, space)
        for words, alignment in zip(encoded, align_targets(model, emissions, targets), strict=True)
    ]


def predict_with_times(model: CtcModel, waveforms: Sequence[np.ndarray]) -> list[tuple[str, list[WordTiming]]]:
    """Predict the text of each waveform, (time,) float32 at 16 kHz, with the times of its words."""

    def decode(frames: Frames) -> list[tuple[str, list[WordTiming]]]:
        texts = model.decode_frames(frames)
        return list(zip(texts, time_words(model, model.compute_emissions(frames), texts), strict=True))

    return model.infer(waveforms, decode)


def _trim_spaces(ids: list[int], space: int | None) -> list[int]:
    """Remove leading, trailing and repeated spaces, which characters outside the vocabulary leave ("7,yes": " yes")."""
    kept: list[int] = []
    for index in ids:
        if index != space or (kept and kept[-1] != space):
            kept.append(index)
    return kept[:-1] if kept and kept[-1] == space else kept


def _join_words(words: Sequence[list[int]], space: int | None) -> list[int]:
    joined: list[int] = []
    for ids in words:
        joined += ([space] if joined and space is not None else []) + ids
    return joined


def _restore_words(
    words: Sequence[tuple[str, list[int]]], aligned: Sequence[WordTiming], space: int | None
) -> list[WordTiming]:
    """Merge the aligned words that the normaliser made from one word: from the first's start to the last's end."""
    remaining, timed = iter(aligned), []
    for word, ids in words:
        timings = list(islice(remaining, 1 + sum(index == space for index in ids)))
        confidence = math.prod(timing.confidence for timing in timings) ** (1 / len(timings))
        timed.append(WordTiming(word, timings[0].start, timings[-1].end, confidence))
    return timed
