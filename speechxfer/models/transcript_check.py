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
from speechxfer.decoding.ctc_greedy import decode_greedy
from speechxfer.decoding.forced_alignment import WordTiming, compute_best_path_log_probs
from speechxfer.decoding.whisper import decode_n_best
from speechxfer.errors import UserError
from speechxfer.heads.whisper_decoder import compute_decoder_log_probs
from speechxfer.models.base import SpeechModel
from speechxfer.models.ctc import CtcRecogniser
from speechxfer.models.ctranslate2 import CTranslate2Recogniser
from speechxfer.models.inference import BatchProgress, batch_by_seconds, predict_all
from speechxfer.models.joint import JointRecogniser
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.models.word_times import align_targets, time_words
from speechxfer.shapes import Emissions, Frames, pad_targets
from speechxfer.text.normalise import get_normaliser

DOUBTFUL_DEVIATIONS = 4.0  # robust standard deviations above the median gap: such a row is doubtful
MIN_GAP_SPREAD = 0.05  # of gaps, which may all be alike


@dataclass(frozen=True)
class TranscriptScore:
    """One row's text against its audio. index: the row, from 0. heard: what the model writes by itself.

    gap: how much likelier the model holds its own text than the transcript, natural logarithm for each character (each
    token, by Whisper's decoder); 0 where it says the same, None where the text has more characters than frames, more
    tokens than the decoder writes, or none that can be written.
    words: where each word stands, by the CTC head, if there is one. doubtful: the gap is far above the other rows', or
    there is none.
    """

    index: int
    id: str
    log_prob_gap: float | None
    hypothesis: str
    words: list[WordTiming] = field(default_factory=list)
    is_suspicious: bool = False


def score_transcripts(
    model: SpeechModel, utterances: Dataset, *, batch_seconds: float = 120.0, progress: BatchProgress | None = None
) -> list[TranscriptScore]:
    """Every row of `num_utterances` (with `text`), the worst match first.

    Raises UserError for a model that writes no text.
    """
    if isinstance(model, WhisperRecogniser):
        found = _score_with_decoder(model, utterances, batch_seconds, progress)
    elif isinstance(model, CtcRecogniser):
        found = _score_with_ctc(model, utterances, batch_seconds, progress)
    elif isinstance(model, CTranslate2Recogniser):
        raise UserError(
            "a model that runs in CTranslate2 does not say how likely a transcript is",
            where="model",
            fix="name the model that it was exported from",
        )
    else:
        raise UserError(f"a model of kind {model.kind} writes no text", where="model", fix="name one that transcribes")
    return sorted(
        _mark_suspicious(found), key=lambda one: (one.log_prob_gap is not None, -(one.log_prob_gap or 0.0), one.index)
    )


def _score_with_decoder(
    model: WhisperRecogniser, utterances: Dataset, batch_seconds: float, progress: BatchProgress | None
) -> list[TranscriptScore]:
    """A transcript is taken as it is written, or normalised, whichever the decoder holds likelier."""
    normalise = get_normaliser(model.settings.normaliser)
    seconds = [audio.measure_duration(row) for row in utterances]
    order = sorted(range(len(utterances)), key=lambda index: -seconds[index])
    found: dict[int, TranscriptScore] = {}
    for batch in batch_by_seconds(order, [model.encoder.compute_padded_seconds(one) for one in seconds], batch_seconds):
        rows = [utterances[index] for index in batch]
        texts = [str(row["text"] or "") for row in rows]
        written = [[model.encode_text(text), model.encode_text(normalise(text))] for text in texts]

        def scored(
            frames: Frames, texts: list[str] = texts, written: list[list[list[int]]] = written
        ) -> list[tuple[list[int], list[float], list[WordTiming]]]:
            rules = model.generation_options | {
                "no_loops": True
            }  # the untouched model's answers may loop, and are long then
            own = [said for (said,) in decode_n_best(model.whisper, frames, model.prompt, beams=1, **rules)]
            columns = [own, *([pair[way][: model.longest_text] for pair in written] for way in (0, 1))]
            scores = [
                compute_decoder_log_probs(
                    model.whisper, frames, pad_targets(rows).to(model.device), model.prompt
                ).tolist()
                for rows in columns
            ]
            words: list[list[WordTiming]] = [[] for _ in texts]
            if isinstance(model, JointRecogniser):
                words = time_words(model, model.compute_emissions(frames), texts)
            return list(zip(own, map(list, zip(*scores, strict=True)), words, strict=True))

        answered = model.infer([audio.load_waveform(row) for row in rows], scored)
        for index, row, text, ways, (own, scores, words) in zip(batch, rows, texts, written, answered, strict=True):
            heard = model.processor.tokenizer.decode(own, skip_special_tokens=True).strip()
            fits = [way for way in (0, 1) if 1 < len(ways[way]) <= model.longest_text]
            gaps = [(scores[0] - scores[1 + way]) / len(ways[way]) for way in fits]
            gap = max(0.0, min(gaps)) if gaps and text.strip() else None
            found[index] = TranscriptScore(index, row["id"], gap, heard, words)
        if progress:
            progress(len(found), len(order))
    return [found[index] for index in range(len(order))]


def _score_with_ctc(
    model: CtcRecogniser, utterances: Dataset, batch_seconds: float, progress: BatchProgress | None
) -> list[TranscriptScore]:
    emissions = predict_all(
        model,
        utterances,
        ask=lambda waveforms: model.infer(waveforms, lambda frames: _emissions(model, frames)),
        batch_seconds=batch_seconds,
        progress=progress,
    )
    columns = zip(utterances["id"], utterances["text"], emissions, strict=True)
    return [_score_utterance(model, index, *row) for index, row in enumerate(columns)]


def _emissions(model: CtcRecogniser, frames: Frames) -> list[Emissions]:
    """Each utterance's own, unpadded, on the CPU."""
    return [
        Emissions(row[None].clone(), torch.tensor([len(row)])) for row in model.compute_emissions(frames).split_rows()
    ]


def _score_utterance(
    model: CtcRecogniser, index: int, name: str, text: str | None, emissions: Emissions
) -> TranscriptScore:
    heard = model.decode_ids(decode_greedy(emissions, model.blank)[0])
    places = model.encode_known(text or "")
    (found,) = align_targets(model, emissions, [places])
    if found is None or not places:
        return TranscriptScore(index, name, None, heard)
    gap = (compute_best_path_log_probs(emissions)[0] - found.log_prob) / len(places)
    return TranscriptScore(index, name, max(0.0, gap), heard, found.words)


def _mark_suspicious(found: list[TranscriptScore]) -> list[TranscriptScore]:
    """The rows with those marked that stand far from the others."""
    gaps = [one.log_prob_gap for one in found if one.log_prob_gap is not None]
    limit = math.inf
    if gaps:
        middle = statistics.median(gaps)
        spread = max(1.4826 * statistics.median(abs(gap - middle) for gap in gaps), MIN_GAP_SPREAD)
        limit = middle + DOUBTFUL_DEVIATIONS * spread
    return [replace(one, is_suspicious=one.log_prob_gap is None or one.log_prob_gap > limit) for one in found]
