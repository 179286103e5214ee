"""Forced alignment of texts with CTC emissions (Viterbi): times and confidences of words."""

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
    """An aligned word. start, end: seconds. confidence: geometric mean of its symbols' frame probabilities, 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Alignment:
    """Alignment of a text with an utterance. log_prob: of the best path that spells the text, natural logarithm."""

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
    """Align each utterance with its text; None if the text has more symbols than fit into the frames.

    emissions: log_probs (batch, frames, vocab). targets: token ids of each text, words separated by the token whose
    symbol is " "; no tokens give an alignment without words. symbols: text of every token. frame_seconds: frame shift.
    offset: seconds added to every time, to account for silence before the audio.
    """
    return [
        _align_utterance(rows, list(tokens), symbols, blank, frame_seconds, offset)
        for rows, tokens in zip(emissions.split_rows(), targets, strict=True)
    ]


def _align_utterance(
    log_probs: Tensor, tokens: list[int], symbols: Sequence[str | None], blank: int, frame_seconds: float, offset: float
) -> Alignment | None:
    """Align one utterance. log_probs: (frames, vocab)."""
    if not tokens:
        return Alignment([], float(log_probs[:, blank].sum()))
    repeats = sum(one == other for one, other in pairwise(tokens))
    if len(log_probs) < len(tokens) + repeats:  # a repeated symbol needs a blank in between
        return None
    path, scores = forced_align(log_probs[None], torch.tensor([tokens], dtype=torch.int32), blank=blank)
    words, word = [], []
    for span in [*merge_tokens(path[0], scores[0], blank=blank), None]:
        if span is not None and symbols[span.token] != " ":
            word.append(span)
        elif word:
            text = "".join(symbols[each.token] or "" for each in word)
            frames = sum(each.end - each.start for each in word)
            mean = sum(float(scores[0, each.start : each.end].sum()) for each in word) / frames
            start, end = word[0].start * frame_seconds, word[-1].end * frame_seconds
            words.append(WordTiming(text, max(0.0, start + offset), max(0.0, end + offset), math.exp(mean)))
            word = []
    return Alignment(words, float(scores.sum()))


def compute_best_path_log_probs(emissions: Emissions) -> list[float]:
    """Compute the log-probability of each utterance's best path over all texts, an upper bound of any alignment's."""
    return [float(row.max(-1).values.sum()) for row in emissions.split_rows()]
