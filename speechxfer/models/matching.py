"""Which transcripts do not match their audio: each compared with what the model hears.

A CTC head lays the transcript over the audio, and gives every word its place. Whisper's own decoder says how likely it
would have written the transcript, and gives no places; a CTC head beside it does.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field, replace

import torch
from datasets import Dataset

from speechxfer.data import audio
from speechxfer.decoding.alignment import Word, best_log_prob
from speechxfer.decoding.ctc import best_path
from speechxfer.decoding.whisper import n_best
from speechxfer.errors import UserError
from speechxfer.heads.whisper_decoder import decoder_log_probs
from speechxfer.models.answering import Progress, answers, cut_by_seconds
from speechxfer.models.base import SpeechModel
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.models.fast import FastRecogniser
from speechxfer.models.joint import JointRecogniser
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.models.words import aligned, word_times
from speechxfer.shapes import Emissions, Frames, padded_targets
from speechxfer.text.normalise import get_normaliser

FAR = 4.0  # robust standard deviations above the median gap: such a row is doubtful
LEAST_SPREAD = 0.05  # of gaps, which may all be alike


@dataclass(frozen=True)
class Match:
    """One row's text against its audio. index: the row, from 0. heard: what the model writes by itself.

    gap: how much likelier the model holds its own text than the transcript, natural logarithm for each character (each
    token, by Whisper's decoder); 0 where it says the same, None where the text has more characters than frames, more
    tokens than the decoder writes, or none that can be written.
    words: where each word stands, by the CTC head, if there is one. doubtful: the gap is far above the other rows', or
    there is none.
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

    Raises UserError for a model that writes no text.
    """
    if isinstance(model, WhisperRecogniser):
        found = _by_decoder(model, utterances, batch_seconds, progress)
    elif isinstance(model, CtcRecogniser):
        found = _by_ctc(model, utterances, batch_seconds, progress)
    elif isinstance(model, FastRecogniser):
        raise UserError(
            "a model that runs in CTranslate2 does not say how likely a transcript is",
            where="model",
            fix="name the model that it was exported from",
        )
    else:
        raise UserError(f"a model of kind {model.kind} writes no text", where="model", fix="name one that transcribes")
    return sorted(_doubted(found), key=lambda one: (one.gap is not None, -(one.gap or 0.0), one.index))


def _by_decoder(
    model: WhisperRecogniser, utterances: Dataset, batch_seconds: float, progress: Progress | None
) -> list[Match]:
    """A transcript is taken as it is written, or normalised, whichever the decoder holds likelier."""
    normalise = get_normaliser(model.settings.normaliser)
    seconds = [audio.seconds(row) for row in utterances]
    order = sorted(range(len(utterances)), key=lambda index: -seconds[index])
    found: dict[int, Match] = {}
    for batch in cut_by_seconds(order, [model.encoder.seconds_run(one) for one in seconds], batch_seconds):
        rows = [utterances[index] for index in batch]
        texts = [str(row["text"] or "") for row in rows]
        written = [[model.tokens(text), model.tokens(normalise(text))] for text in texts]

        def scored(
            frames: Frames, texts: list[str] = texts, written: list[list[list[int]]] = written
        ) -> list[tuple[list[int], list[float], list[Word]]]:
            rules = model.rules | {"no_loops": True}  # the untouched model's answers may loop, and are long then
            own = [said for (said,) in n_best(model.whisper, frames, model.prompt, beams=1, **rules)]
            columns = [own, *([pair[way][: model.longest_text] for pair in written] for way in (0, 1))]
            scores = [
                decoder_log_probs(model.whisper, frames, padded_targets(rows).to(model.device), model.prompt).tolist()
                for rows in columns
            ]
            words: list[list[Word]] = [[] for _ in texts]
            if isinstance(model, JointRecogniser):
                words = word_times(model, model.emissions(frames), texts)
            return list(zip(own, map(list, zip(*scores, strict=True)), words, strict=True))

        answered = model.listen([audio.load(row) for row in rows], scored)
        for index, row, text, ways, (own, scores, words) in zip(batch, rows, texts, written, answered, strict=True):
            heard = model.processor.tokenizer.decode(own, skip_special_tokens=True).strip()
            fits = [way for way in (0, 1) if 1 < len(ways[way]) <= model.longest_text]
            gaps = [(scores[0] - scores[1 + way]) / len(ways[way]) for way in fits]
            gap = max(0.0, min(gaps)) if gaps and text.strip() else None
            found[index] = Match(index, row["id"], gap, heard, words)
        if progress:
            progress(len(found), len(order))
    return [found[index] for index in range(len(order))]


def _by_ctc(model: CtcRecogniser, utterances: Dataset, batch_seconds: float, progress: Progress | None) -> list[Match]:
    emissions = answers(
        model,
        utterances,
        ask=lambda waveforms: model.listen(waveforms, lambda frames: _emissions(model, frames)),
        batch_seconds=batch_seconds,
        progress=progress,
    )
    columns = zip(utterances["id"], utterances["text"], emissions, strict=True)
    return [_match(model, index, *row) for index, row in enumerate(columns)]


def _emissions(model: CtcRecogniser, frames: Frames) -> list[Emissions]:
    """Each utterance's own, unpadded, on the CPU."""
    return [Emissions(row[None].clone(), torch.tensor([len(row)])) for row in model.emissions(frames).rows()]


def _match(model: CtcRecogniser, index: int, name: str, text: str | None, emissions: Emissions) -> Match:
    heard = model.text(best_path(emissions, model.blank)[0])
    places = model.spelling(text or "")
    (found,) = aligned(model, emissions, [places])
    if found is None or not places:
        return Match(index, name, None, heard)
    gap = (best_log_prob(emissions)[0] - found.log_prob) / len(places)
    return Match(index, name, max(0.0, gap), heard, found.words)


def _doubted(found: list[Match]) -> list[Match]:
    """The rows with those marked that stand far from the others."""
    gaps = [one.gap for one in found if one.gap is not None]
    limit = math.inf
    if gaps:
        middle = statistics.median(gaps)
        spread = max(1.4826 * statistics.median(abs(gap - middle) for gap in gaps), LEAST_SPREAD)
        limit = middle + FAR * spread
    return [replace(one, doubtful=one.gap is None or one.gap > limit) for one in found]
