"""Forced alignment of texts with CTC emissions (Viterbi): times and confidences of words.

torchaudio finds the path; where it cannot be imported, `find_best_path` finds the same one, more slowly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechxfer import torchaudio_import
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
    path = _find_path(log_probs, tokens, blank)
    scores = log_probs.gather(1, path[:, None])[:, 0]
    words, word = [], []
    for span in [*_find_spans(path.tolist(), blank), None]:
        if span is not None and symbols[span.token] != " ":
            word.append(span)
        elif word:
            text = "".join(symbols[each.token] or "" for each in word)
            frames = sum(each.end - each.start for each in word)
            mean = sum(float(scores[each.start : each.end].sum()) for each in word) / frames
            start, end = word[0].start * frame_seconds, word[-1].end * frame_seconds
            words.append(WordTiming(text, max(0.0, start + offset), max(0.0, end + offset), math.exp(mean)))
            word = []
    return Alignment(words, float(scores.sum()))


class _Span(NamedTuple):
    """A token's frames, `start` to `end` exclusive."""

    token: int
    start: int
    end: int


def _find_spans(path: Sequence[int], blank: int) -> list[_Span]:
    """Return the frames of each token on a path of one token per frame; a blank separates equal tokens."""
    spans, start = [], 0
    for token, run in groupby(path):
        end = start + sum(1 for _ in run)
        if token != blank:
            spans.append(_Span(token, start, end))
        start = end
    return spans


def _find_path(log_probs: Tensor, tokens: Sequence[int], blank: int) -> Tensor:
    """Return the token of each frame, (frames,), on the best path. log_probs: (frames, vocab)."""
    if torchaudio_import.FUNCTIONAL is None:
        return torch.from_numpy(find_best_path(log_probs.cpu().numpy(), tokens, blank)).to(log_probs.device)
    targets = torch.tensor([tokens], dtype=torch.int32, device=log_probs.device)
    path, _ = torchaudio_import.FUNCTIONAL.forced_align(log_probs[None], targets, blank=blank)
    found: Tensor = path[0].long()
    return found


def find_best_path(log_probs: NDArray[np.floating], tokens: Sequence[int], blank: int) -> NDArray[np.int64]:
    """Return the token of each frame, (frames,), on the best path that spells `tokens` (Viterbi).

    The states are the tokens with blanks around them; a blank between two different tokens may be left out (Graves et
    al. 2006, section 4.1).

    log_probs: (frames, vocab), with at least as many frames as tokens and blanks that must be between equal tokens.
    """
    states = np.full(2 * len(tokens) + 1, blank)
    states[1::2] = tokens
    is_skippable = np.zeros(len(states), dtype=bool)  # the blank before a state
    is_skippable[3::2] = states[3::2] != states[1:-2:2]
    emitted = log_probs[:, states]
    steps = np.zeros(emitted.shape, dtype=np.int8)  # by how many states the path advanced to get there
    scores = np.full((3, len(states)), -np.inf)  # of the paths that stay, advance by one, and by two
    best = np.full(len(states), -np.inf)
    best[:2] = emitted[0, :2]
    for frame in range(1, len(emitted)):
        scores[0], scores[1, 1:] = best, best[:-1]
        scores[2, 2:] = np.where(is_skippable[2:], best[:-2], -np.inf)
        steps[frame] = scores.argmax(axis=0)
        best = scores.max(axis=0) + emitted[frame]
    path = np.empty(len(emitted), dtype=np.int64)
    state = len(states) - (1 if best[-1] > best[-2] else 2)
    for frame in range(len(emitted) - 1, -1, -1):
        path[frame] = states[state]
        state -= int(steps[frame, state])
    return path


def compute_best_path_log_probs(emissions: Emissions) -> list[float]:
    """Compute the log-probability of each utterance's best path over all texts, an upper bound of any alignment's."""
    return [float(row.max(-1).values.sum()) for row in emissions.split_rows()]
