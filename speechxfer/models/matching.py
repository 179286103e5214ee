"""Which transcripts do not match their audio: each laid over it by a CTC head, and compared with what that hears."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field, replace

import torch
from datasets import Dataset

from speechxfer.decoding.alignment import Word, align, best_log_prob
from speechxfer.decoding.ctc import best_path
from speechxfer.errors import UserError
from speechxfer.models.answering import Progress, answers
from speechxfer.models.base import SpeechModel
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.shapes import RATE, Emissions, Frames

FAR = 4.0  # robust standard deviations above the median gap: such a row is doubtful
LEAST_SPREAD = 0.05  # of gaps, which may all be alike


@dataclass(frozen=True)
class Match:
    """One row's text against its audio. index: the row, from 0. heard: what the head writes by itself.

    gap: how much likelier the head holds its own labelling than the transcript's, natural logarithm for each character;
    0 where it says the same, None where the text has more characters than frames, or none that the head can write.
    words: where each word stands. doubtful: the gap is far above the other rows', or there is none.
    """

    index: int
    id: str
    gap: float | None
    heard: str
    words: list[Word] = field(default_factory=list)
    doubtful: bool = False


def matches(
    model: SpeechModel, utterances: Dataset, *, batch_seconds: float = 120.0, progress: Progress | None = None
) -> list[Match]:
    """Every row of `utterances` (with `text`), the worst match first.

    Raises UserError for a model without a CTC head.
    """
    if not isinstance(model, CtcRecogniser):
        raise UserError(f"a model of kind {model.kind} aligns nothing", where="model", fix="name one with a CTC head")
    emissions = answers(
        model,
        utterances,
        ask=lambda waveforms: model.listen(waveforms, lambda frames: _emissions(model, frames)),
        batch_seconds=batch_seconds,
        progress=progress,
    )
    columns = zip(utterances["id"], utterances["text"], emissions, strict=True)
    found = [_match(model, index, *row) for index, row in enumerate(columns)]
    return sorted(_doubted(found), key=lambda one: (one.gap is not None, -(one.gap or 0.0), one.index))


def _emissions(model: CtcRecogniser, frames: Frames) -> list[Emissions]:
    """Each utterance's own, unpadded, on the CPU."""
    return [Emissions(row[None].clone(), torch.tensor([len(row)])) for row in model.emissions(frames).rows()]


def _match(model: CtcRecogniser, index: int, name: str, text: str | None, emissions: Emissions) -> Match:
    heard = model.text(best_path(emissions, model.blank)[0])
    places = model.spelling(text or "")
    (aligned,) = align(
        emissions,
        [places],
        model.symbols,
        blank=model.blank,
        frame_seconds=10 / model.encoder.frames_of(10 * RATE),
        offset=-model.settings.silence,
    )
    if aligned is None or not places:
        return Match(index, name, None, heard)
    gap = (best_log_prob(emissions)[0] - aligned.log_prob) / len(places)
    return Match(index, name, max(0.0, gap), heard, aligned.words)


def _doubted(found: list[Match]) -> list[Match]:
    """The rows with those marked that stand far from the others."""
    gaps = [one.gap for one in found if one.gap is not None]
    limit = math.inf
    if gaps:
        middle = statistics.median(gaps)
        spread = max(1.4826 * statistics.median(abs(gap - middle) for gap in gaps), LEAST_SPREAD)
        limit = middle + FAR * spread
    return [replace(one, doubtful=one.gap is None or one.gap > limit) for one in found]
