"""Where in the audio each word of a known text is spoken, and how surely: Viterbi alignment of CTC emissions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torchaudio.functional import forced_align, merge_tokens

from speechxfer.shapes import Emissions


@dataclass(frozen=True)
class WordTiming:
    """start, end: seconds. confidence: the geometric mean of its symbols' probabilities over their frames, 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Alignment:
    """One text laid over one utterance. log_prob: of the best labelling that says the text, natural logarithm."""

    words: list[WordTiming]
    log_prob: float


def align_words(
    emissions: Emissions,
    targets: Sequence[Sequence[int]],
    symbols: Sequence[str | None],
    *,
    blank: int,
    frame_seconds: float,
    offset: float = 0.0,
) -> list[Alignment | None]:
    """Each utterance's alignment with its text; None where the text has more symbols than fit into the frames.

    emissions: log_probs (batch, frames, vocab). targets: places of each text's symbols, words parted by the place whose
    symbol is " ". symbols: the text of every place. frame_seconds: what a frame lasts. offset: added to every time, for
    silence that was put before the audio. No targets are an alignment without words.
    """
    return [
        _align_utterance(rows, list(places), symbols, blank, frame_seconds, offset)
        for rows, places in zip(emissions.split_rows(), targets, strict=True)
    ]


def _align_utterance(
    log_probs: Tensor, places: list[int], symbols: Sequence[str | None], blank: int, frame_seconds: float, offset: float
) -> Alignment | None:
    """log_probs: (frames, vocab)."""
    if not places:
        return Alignment([], float(log_probs[:, blank].sum()))
    repeats = sum(one == other for one, other in pairwise(places))
    if len(log_probs) < len(places) + repeats:  # a repeated symbol needs a blank between
        return None
    path, scores = forced_align(log_probs[None], torch.tensor([places], dtype=torch.int32), blank=blank)
    words, word = [], []
    for span in [*merge_tokens(path[0], scores[0], blank=blank), None]:
        if span is not None and symbols[span.token] != " ":
            word.append(span)
        elif word:
            text = "".join(symbols[each.token] or "" for each in word)
            frames = sum(each.end - each.start for each in word)
            sure = sum(float(scores[0, each.start : each.end].sum()) for each in word) / frames
            start, end = word[0].start * frame_seconds, word[-1].end * frame_seconds
            words.append(WordTiming(text, max(0.0, start + offset), max(0.0, end + offset), math.exp(sure)))
            word = []
    return Alignment(words, float(scores.sum()))


def compute_best_path_log_probs(emissions: Emissions) -> list[float]:
    """The log-probability of each utterance's likeliest labelling, whatever it says: no alignment's is higher."""
    return [float(row.max(-1).values.sum()) for row in emissions.split_rows()]
