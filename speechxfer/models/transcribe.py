"""Transcription of files, folders and tables with audio of any length, batched and in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from speechxfer.config.recipe import DecodingConfig
from speechxfer.data.audio import is_silent, measure_duration
from speechxfer.data.audio_files import collect_audio
from speechxfer.data.parallel import map_rows
from speechxfer.data.segmentation import AudioSegment, segment_audio
from speechxfer.data.tables import cell_to_json
from speechxfer.errors import UserError
from speechxfer.models.base import SpeechModel
from speechxfer.models.batch_scheduler import BatchScheduler, PendingUtterance
from speechxfer.models.classifier import Classifier
from speechxfer.models.decoding_options import DecodingOptions, apply_decoding
from speechxfer.models.loading import load
from speechxfer.models.segment_retry import SegmentFunction, SegmentRetry
from speechxfer.models.transcript import (
    OnUnreadable,
    SegmentPrediction,
    Transcript,
    UnreadableAudio,
    report_unreadable,
)
from speechxfer.models.word_times import predict_with_times, require_ctc
from speechxfer.progress import ProgressCallback
from speechxfer.scoring.labels import LABEL_MEASURE, MEASURE_COLUMN

# longest audio, in seconds, that a model processes at once if its encoder has no limit (Whisper's is 30 s)
MAX_SINGLE_SECONDS = 30.0
MIN_TRAINED_SECONDS = 6.0  # maximum segment length of a model that was trained on shorter utterances only
SEGMENT_END_SECONDS = 1.0  # at such a pause a segment ends, for a model that was adapted to utterances
LONG_CLIP_FACTOR = 2  # times the longest training clip, from which audio is too long for one label
LONG_SEGMENT_SHARE = 28 / 30  # maximum segment length of longer files, as a share of this
_DROPPED_COLUMNS = ("id", "audio", "path", "bytes", "hypothesis", "segments", "words", "complete")


def transcribe(
    model: str | Path | SpeechModel,
    audio: str | Path | Dataset | Sequence[str | Path],
    *,
    decoding: DecodingOptions | None = None,
    device: str = "auto",
    on_bad: OnUnreadable | None = None,
    progress: ProgressCallback | None = None,
) -> list[Transcript]:
    """Transcribe audio of any length, in order: `transcribe("whisper-tiny.en", "talk.mp3")[0].text`.

    Args:
        model: any MODEL, or a loaded one; a classifier predicts labels.
        audio: files, folders, or tables (`collect_audio`), or what `speechxfer.read` returned.
        decoding: how the model is run (default: as it was saved).
        device: auto, cpu, cuda or mps, for a MODEL that is not loaded yet.
        on_bad: called with each file that cannot be read, which is then skipped.
        progress: called with (seconds of audio done, total seconds).

    Raises:
        UserError: if there is no such model or no audio, and, without `on_bad`, at the first file that cannot be read.
    """
    options = decoding or DecodingOptions()
    utterances: list[Dataset]
    missing: list[UserError] = []
    if isinstance(audio, Dataset):
        utterances = [audio]
    else:
        utterances, missing = collect_audio([audio] if isinstance(audio, str | Path) else audio)
    for error in missing:
        report_unreadable(UnreadableAudio(str(error.where), str(error.where), error), on_bad)
    opened = model if isinstance(model, SpeechModel) else load(model, device=device, language=options.language)
    configured = apply_decoding(opened, options)
    return list(iter_transcripts(configured, utterances, options, on_bad=on_bad, progress=progress))


def iter_transcripts(
    model: SpeechModel,
    utterances: Sequence[Dataset],
    options: DecodingOptions,
    *,
    on_bad: OnUnreadable | None = None,
    progress: ProgressCallback | None = None,
) -> Iterator[Transcript]:
    """Yield the transcripts in the utterances' order, each as soon as it and those before it are complete.

    Only a few batches of decoded audio are in memory, whatever the length of the files and tables. On
    KeyboardInterrupt the transcripts so far are yielded, those of incomplete files included, before it is raised again.
    The other arguments are those of `transcribe`.

    model: with `options` applied (`apply_decoding`).
    """
    lengths = _get_segment_lengths(model, options.cut_seconds)
    fn = _make_word_time_function(model) if options.words else _make_label_function(model)
    scheduler = BatchScheduler(
        model,
        options.batch_seconds or DecodingConfig.model_validate({}).batch_seconds,
        on_bad=on_bad,
        progress=progress,
        fn=fn,
        retry=_make_retry(model, fn),
    )
    if progress:
        scheduler.total_seconds = _compute_total_seconds(utterances)
    try:
        for row in _iter_rows(utterances):
            is_classified = model.kind == "classify"
            utterance = PendingUtterance(row["id"], row["audio"], _get_columns(row, model), is_classified=is_classified)
            scheduler.add_utterance(utterance)
            for segment in _read_segments(utterance, row, *lengths):
                scheduler.add_segment(utterance, segment)
                if scheduler.is_full:
                    scheduler.predict_pending()
                    yield from scheduler.pop_finished()
            if utterance.error is not None:
                scheduler.drop_segments(utterance)
        scheduler.predict_pending()
    except KeyboardInterrupt:
        yield from scheduler.pop_partial()
        raise
    yield from scheduler.pop_finished()


def _make_word_time_function(model: SpeechModel) -> SegmentFunction:
    """Return a function that predicts the text and the word times of waveforms."""
    ctc_model = require_ctc(model, "words")

    def predict(waveforms: list[np.ndarray]) -> list[SegmentPrediction]:
        return [SegmentPrediction(text, words) for text, words in predict_with_times(ctc_model, waveforms)]

    return predict


def _make_label_function(model: SpeechModel) -> SegmentFunction | None:
    """Return a function that predicts the labels of waveforms with their probabilities; None if it is no classifier."""
    if not isinstance(model, Classifier):
        return None

    def predict(waveforms: list[np.ndarray]) -> list[SegmentPrediction]:
        found = model.predict_labels(waveforms)
        return [SegmentPrediction(one.label, probabilities=one.probabilities) for one in found]

    return predict


def _make_retry(model: SpeechModel, fn: SegmentFunction | None) -> SegmentRetry | None:
    """Return the retry of segments with too short or too long texts; None for a model that was not adapted, or a
    classifier. Word times need no second text: those of a CTC head, which never has more than its frames."""
    training = model.settings.training
    if training is None or model.kind == "classify":
        return None
    if fn is not None:
        return SegmentRetry(fn, training.characters_per_second)
    padded = None
    if getattr(model.encoder, "pad_to_30s", True) is False:
        padded = _make_text_function(apply_decoding(model, DecodingOptions(pad_to_30s=True)))
    return SegmentRetry(_make_text_function(model), training.characters_per_second, padded)


def _make_text_function(model: SpeechModel) -> SegmentFunction:
    """Return a function that predicts the texts of waveforms."""

    def predict(waveforms: list[np.ndarray]) -> list[SegmentPrediction]:
        return [SegmentPrediction(text) for text in model.predict(waveforms)]

    return predict


def _read_segments(
    utterance: PendingUtterance,
    row: Mapping[str, Any],
    max_seconds: float,
    max_single_seconds: float,
    pause_seconds: float | None,
) -> Iterator[AudioSegment]:
    """Yield the segments of a row's audio; an error ends them and is stored in the utterance.

    A short silent file yields none for a recogniser, because Whisper hallucinates words in silence; for a classifier
    silence may be a class. `segment_audio` already removes the silence of longer files by its relative level, which
    keeps faint speech.
    """
    try:
        utterance.seconds = measure_duration(row)
        segments = segment_audio(
            row, max_seconds=max_seconds, max_single_seconds=max_single_seconds, pause_seconds=pause_seconds
        )
        for segment in segments:
            if utterance.is_classified or not (segment.is_whole and is_silent(segment.waveform)):
                yield segment
    except UserError as error:
        utterance.error = error
    utterance.is_read = True


def _get_segment_lengths(model: SpeechModel, cut_seconds: float | None) -> tuple[float, float, float | None]:
    """Return the maximum segment length of a long file, the maximum length of audio that is not cut, and the pause at
    which a segment ends (see `segment_audio`), in seconds.

    An adapted model gets segments of the lengths that it was trained on, which end where its utterances would.
    """
    own_limit = model.encoder.max_seconds  # None except for Whisper
    limit = MAX_SINGLE_SECONDS if own_limit is None else own_limit
    if cut_seconds is None:
        trained = None if model.kind == "classify" else model.settings.training
        longest = limit * LONG_SEGMENT_SHARE
        if trained is None:
            return longest, limit, None
        usual, maximum = (max(one, MIN_TRAINED_SECONDS) for one in (trained.usual_seconds, trained.max_seconds))
        return min(longest, usual), min(limit, maximum), SEGMENT_END_SECONDS
    if cut_seconds < 1:
        raise UserError(f"{cut_seconds:g} s is too short for words; set 1 s or more", where="cut_seconds")
    if own_limit is not None and cut_seconds > limit:
        raise UserError(f"{cut_seconds:g} s is more than Whisper's encoder takes ({limit:g} s)", where="cut_seconds")
    return cut_seconds, cut_seconds, None


def _compute_total_seconds(utterances: Sequence[Dataset]) -> float:
    """Sum the durations; a file that cannot be read counts 0 and is reported later."""

    def get_seconds(row: dict[str, Any]) -> float:
        try:
            return measure_duration(row)
        except UserError:
            return 0.0

    needed = ["id", "audio", "path", "bytes", "start", "end"]
    return sum(seconds for dataset in utterances for seconds in map_rows(dataset, needed, get_seconds))


def find_long_warning(model: SpeechModel, seconds: Mapping[str, float]) -> list[str]:
    """Return a list with one warning about audio far longer than what a classifier was trained on; else an empty one.

    seconds: duration by name.
    """
    training = model.settings.training
    if model.kind != "classify" or training is None:
        return []
    long = {name: length for name, length in seconds.items() if length > LONG_CLIP_FACTOR * training.max_seconds}
    if not long:
        return []
    name, longest = max(long.items(), key=lambda item: item[1])
    some = "1 recording is" if len(long) == 1 else f"{len(long):,} recordings are"
    return [
        f"{some} far longer than the longest training clip ({training.max_seconds:.1f} s), e.g. {name} "
        f"({longest:.1f} s): a recording gets one label; cut it into single clips"
    ]


def _iter_rows(utterances: Sequence[Dataset]) -> Iterator[dict[str, Any]]:
    for dataset in utterances:
        yield from dataset


def select_passthrough_columns(names: Collection[str], model: SpeechModel) -> dict[str, str]:
    """Map the columns of a transcript to those of the table: `reference` first, then the table's other columns.

    The reference is the table's text, or its label for a classifier.
    """
    source = "label" if model.kind == "classify" and "label" in names else "text"
    reference = {"reference": source} if source in names else {}
    return reference | {name: name for name in names if name not in (*_DROPPED_COLUMNS, source, *reference)}


def _get_columns(row: Mapping[str, Any], model: SpeechModel) -> dict[str, Any]:
    """Return the values of a row's passthrough columns as JSON types; an empty text is not a reference."""
    values = {name: cell_to_json(row[source]) for name, source in select_passthrough_columns(row, model).items()}
    values = {name: value for name, value in values.items() if value is not None and (value or name != "reference")}
    return values | ({MEASURE_COLUMN: LABEL_MEASURE} if model.kind == "classify" and "reference" in values else {})
