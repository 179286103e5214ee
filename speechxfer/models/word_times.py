"""When each word of a text is spoken, and how surely: by the CTC head of a model that has one."""

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
    """The model, if it has a CTC head. Raises UserError, about `where`, if it has none."""
    if isinstance(model, CtcModel):
        return model
    raise UserError(
        f"a model of kind {model.kind} has no CTC head, by which words are found in time",
        where=where,
        fix="train one beside Whisper's decoder: speechxfer adapt accent-best",
    )


def align_targets(model: CtcModel, emissions: Emissions, targets: Sequence[Sequence[int]]) -> list[Alignment | None]:
    """Each utterance's alignment with its text (`decoding.alignment.align`), times from the start of its audio.

    emissions: log_probs (batch, frames, symbols), on any device. targets: places of each text's symbols.
    """
    return align_words(
        Emissions(emissions.log_probs.cpu(), emissions.lengths.cpu()),
        targets,
        model.labels,
        blank=model.blank,
        frame_seconds=model.encoder.frame_seconds,
        offset=-model.settings.pad_silence,
    )


def time_words(model: CtcModel, emissions: Emissions, texts: Sequence[str]) -> list[list[WordTiming]]:
    """The words of each text as it is written, with their times and confidences.

    emissions: as for `align_targets`. A word of which the CTC head can write nothing (a number in figures, say) has no time;
    nor has any word of a text that has more symbols than the utterance has frames. Where the head knows no space, the
    whole text counts as one word.
    """
    space = model.labels.index(" ") if " " in model.labels else None
    spelt: list[list[tuple[str, list[int]]]] = []
    for text in texts:
        words = text.split() if space is not None else [text]
        every = ((word, _trim_spaces(model.encode_known(word), space)) for word in words)
        spelt.append([(word, places) for word, places in every if places])
    targets = [_join_words([places for _, places in words], space) for words in spelt]
    return [
        [] if found is None else _restore_words(words, found.words, space)
        for words, found in zip(spelt, align_targets(model, emissions, targets), strict=True)
    ]


def predict_with_times(model: CtcModel, waveforms: Sequence[np.ndarray]) -> list[tuple[str, list[WordTiming]]]:
    """What the model answers to each waveform, (time,) float32 at 16 kHz, and the times of its words."""

    def read(frames: Frames) -> list[tuple[str, list[WordTiming]]]:
        texts = model.decode_frames(frames)
        return list(zip(texts, time_words(model, model.compute_emissions(frames), texts), strict=True))

    return model.infer(waveforms, read)


def _trim_spaces(places: list[int], space: int | None) -> list[int]:
    """Without the spaces that what cannot be written leaves: at the ends, and beside others ("7,yes" is " yes")."""
    kept: list[int] = []
    for place in places:
        if place != space or (kept and kept[-1] != space):
            kept.append(place)
    return kept[:-1] if kept and kept[-1] == space else kept


def _join_words(words: Sequence[list[int]], space: int | None) -> list[int]:
    joined: list[int] = []
    for places in words:
        joined += ([space] if joined and space is not None else []) + places
    return joined


def _restore_words(
    words: Sequence[tuple[str, list[int]]], found: Sequence[WordTiming], space: int | None
) -> list[WordTiming]:
    """A word that the normaliser makes two of lasts from the first's start to the last's end."""
    parts, timed = iter(found), []
    for word, places in words:
        own = list(islice(parts, 1 + sum(place == space for place in places)))
        sure = math.prod(part.confidence for part in own) ** (1 / len(own))
        timed.append(WordTiming(word, own[0].start, own[-1].end, sure))
    return timed
