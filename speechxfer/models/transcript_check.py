"""Finds transcripts that do not match their audio, by comparing each with the model's own hypothesis.

A CTC head aligns the transcript with the audio, which also gives the words' times. Whisper's decoder gives the
probability of the transcript but no times; the CTC head of a joint model adds them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
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
from speechxfer.models.inference import batch_by_seconds, predict_all
from speechxfer.models.joint import JointRecogniser
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.models.word_times import align_targets, time_words
from speechxfer.progress import ProgressCallback
from speechxfer.shapes import Emissions, Frames, pad_targets
from speechxfer.text.normalise import get_normaliser

DOUBTFUL_DEVIATIONS = 4.0  # a row is suspicious this many robust standard deviations above the median gap
MIN_GAP_SPREAD = 0.05  # lower limit of that deviation, for data in which all gaps are alike


@dataclass(frozen=True)
class TranscriptScore:
    """The match of a row's text with its audio.

    Args:
        index: the row, from 0.
        log_prob_gap: natural log-probability of the model's own hypothesis minus that of the transcript, per character
            (per token for Whisper's decoder); 0 if they are equal. None if the text has more characters than the
            utterance has frames, more tokens than the decoder can write, or nothing that the model can write.
        hypothesis: the model's own text.
        words: times of the transcript's words, for a model with a CTC head.
        is_suspicious: the gap is far above those of the other rows, or None.
    """

    index: int
    id: str
    log_prob_gap: float | None
    hypothesis: str
    words: list[WordTiming] = field(default_factory=list)
    is_suspicious: bool = False


def score_transcripts(
    model: SpeechModel, utterances: Dataset, *, batch_seconds: float = 120.0, progress: ProgressCallback | None = None
) -> list[TranscriptScore]:
    """Score every row of `utterances` (with `text`), and return the worst matches first.

    progress: called with (utterances done, total utterances).

    Raises:
        UserError: if the model does not write text, or runs in CTranslate2.
    """
    if isinstance(model, WhisperRecogniser):
        scores = _score_with_decoder(model, utterances, batch_seconds, progress)
    elif isinstance(model, CtcRecogniser):
        scores = _score_with_ctc(model, utterances, batch_seconds, progress)
    elif isinstance(model, CTranslate2Recogniser):
        raise UserError(
            "a CTranslate2 model does not give the probability of a transcript",
            where="model",
            fix="name the model that it was exported from",
        )
    else:
        raise UserError(f"a model of kind {model.kind} writes no text", where="model", fix="name one that transcribes")
    marked = _mark_suspicious(scores)
    return sorted(marked, key=lambda row: (row.log_prob_gap is not None, -(row.log_prob_gap or 0.0), row.index))


def _score_with_decoder(
    model: WhisperRecogniser, utterances: Dataset, batch_seconds: float, progress: ProgressCallback | None
) -> list[TranscriptScore]:
    seconds = [audio.measure_duration(row) for row in utterances]
    longest_first = sorted(range(len(utterances)), key=lambda index: -seconds[index])
    padded = [model.encoder.compute_padded_seconds(duration) for duration in seconds]
    scores: dict[int, TranscriptScore] = {}
    for batch in batch_by_seconds(longest_first, padded, batch_seconds):
        rows = [utterances[index] for index in batch]
        scored = _score_decoder_batch(model, rows)
        scores.update((index, replace(score, index=index)) for index, score in zip(batch, scored, strict=True))
        if progress:
            progress(len(scores), len(longest_first))
    return [scores[index] for index in range(len(longest_first))]


def _score_decoder_batch(model: WhisperRecogniser, rows: Sequence[dict]) -> list[TranscriptScore]:
    """Score the rows of one batch; the transcript as written or normalised counts, whichever is more probable."""
    normalise = get_normaliser(model.settings.normaliser)
    texts = [str(row["text"] or "") for row in rows]
    as_written = [model.encode_text(text) for text in texts]
    normalised = [model.encode_text(normalise(text)) for text in texts]

    def compute(frames: Frames) -> tuple[list[list[int]], list[list[float]], list[list[WordTiming]]]:
        # a zero-shot model's hypotheses may loop and be long
        options = replace(model.generation_options, beam_size=1, block_loops=True)
        own = [tokens for (tokens,) in decode_n_best(model.whisper, frames, model.prompt, options)]
        candidates = [own, *([tokens[: model.max_text_tokens] for tokens in way] for way in (as_written, normalised))]
        log_probs = [_compute_log_probs(model, frames, tokens) for tokens in candidates]
        words: list[list[WordTiming]] = [[] for _ in texts]
        if isinstance(model, JointRecogniser):
            words = time_words(model, model.compute_emissions(frames), texts)
        return own, log_probs, words

    own, log_probs, words = model.infer([audio.load_waveform(row) for row in rows], compute)
    scores = []
    for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
        gaps = [
            (log_probs[0][number] - of_way[number]) / len(tokens[number])
            for of_way, tokens in zip(log_probs[1:], (as_written, normalised), strict=True)
            if 1 < len(tokens[number]) <= model.max_text_tokens
        ]
        gap = max(0.0, min(gaps)) if gaps and text.strip() else None
        hypothesis = model.processor.tokenizer.decode(own[number], skip_special_tokens=True).strip()
        scores.append(TranscriptScore(number, row["id"], gap, hypothesis, words[number]))
    return scores


def _compute_log_probs(model: WhisperRecogniser, frames: Frames, tokens: list[list[int]]) -> list[float]:
    labels = pad_targets(tokens).to(model.device)
    return compute_decoder_log_probs(model.whisper, frames, labels, model.prompt).tolist()


def _score_with_ctc(
    model: CtcRecogniser, utterances: Dataset, batch_seconds: float, progress: ProgressCallback | None
) -> list[TranscriptScore]:
    emissions = predict_all(
        model,
        utterances,
        fn=lambda waveforms: model.infer(waveforms, lambda frames: _split_emissions(model, frames)),
        batch_seconds=batch_seconds,
        progress=progress,
    )
    rows = zip(utterances["id"], utterances["text"], emissions, strict=True)
    return [_score_utterance(model, index, *row) for index, row in enumerate(rows)]


def _split_emissions(model: CtcRecogniser, frames: Frames) -> list[Emissions]:
    """Return the emissions of each utterance, without padding, on the CPU."""
    return [
        Emissions(row[None].clone(), torch.tensor([len(row)])) for row in model.compute_emissions(frames).split_rows()
    ]


def _score_utterance(
    model: CtcRecogniser, index: int, name: str, text: str | None, emissions: Emissions
) -> TranscriptScore:
    hypothesis = model.decode_ids(decode_greedy(emissions, model.blank)[0])
    ids = model.encode_known(text or "")
    (alignment,) = align_targets(model, emissions, [ids])
    if alignment is None or not ids:
        return TranscriptScore(index, name, None, hypothesis)
    gap = (compute_best_path_log_probs(emissions)[0] - alignment.log_prob) / len(ids)
    return TranscriptScore(index, name, max(0.0, gap), hypothesis, alignment.words)


def _mark_suspicious(scores: list[TranscriptScore]) -> list[TranscriptScore]:
    """Mark the rows whose gap is far above the median."""
    gaps = [score.log_prob_gap for score in scores if score.log_prob_gap is not None]
    limit = math.inf
    if gaps:
        median = statistics.median(gaps)
        spread = max(1.4826 * statistics.median(abs(gap - median) for gap in gaps), MIN_GAP_SPREAD)
        limit = median + DOUBTFUL_DEVIATIONS * spread
    return [replace(score, is_suspicious=score.log_prob_gap is None or score.log_prob_gap > limit) for score in scores]
