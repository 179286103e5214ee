"""Predictions for rows of any length: audio that is longer than the model takes is cut at pauses."""

from __future__ import annotations

from datasets import Dataset

from speechxfer import distributed
from speechxfer.data.audio import measure_duration
from speechxfer.models.base import SpeechModel
from speechxfer.models.decoding_options import DecodingOptions
from speechxfer.models.inference import predict_all
from speechxfer.models.transcribe import iter_transcripts
from speechxfer.progress import ProgressCallback

LONG_SECONDS = 60.0  # longer audio is cut if the encoder has no limit of its own (Whisper's is 30 s)


def get_whole_seconds(model: SpeechModel) -> float | None:
    """Return the maximum length of audio that is not cut, in seconds; None for a classifier, which needs all of it."""
    if model.kind == "classify":
        return None
    limit = model.encoder.max_seconds
    return LONG_SECONDS if limit is None else limit


def predict_any_length(
    model: SpeechModel,
    utterances: Dataset,
    *,
    batch_seconds: float = 120.0,
    progress: ProgressCallback | None = None,
    shared: bool = False,
) -> list[str]:
    """Predict as `predict_all` does; rows that are too long for it are transcribed in segments, as by `transcribe`.

    A few batches of audio are in memory, whatever the lengths.

    Raises:
        UserError: if the audio of a long row cannot be read.
    """
    limit = get_whole_seconds(model)
    rows = utterances.select_columns([name for name in utterances.column_names if name != "text"])
    long = [] if limit is None else [index for index, row in enumerate(rows) if measure_duration(row) > limit]
    if not long:
        return predict_all(model, utterances, batch_seconds=batch_seconds, progress=progress, shared=shared)
    short = sorted(set(range(len(rows))) - set(long))

    def count(done: int, _: int) -> None:
        if progress:
            progress(done, len(rows))

    texts: dict[int, str] = {}
    if short:
        found = predict_all(model, rows.select(short), batch_seconds=batch_seconds, progress=count, shared=shared)
        texts = dict(zip(short, found, strict=True))
    own = long[distributed.get_rank() :: distributed.get_world_size()] if shared else long
    transcripts = iter_transcripts(model, [rows.select(own)], DecodingOptions(batch_seconds=batch_seconds))
    long_texts = {}
    for index, transcript in zip(own, transcripts, strict=True):
        long_texts[index] = transcript.text
        count(len(short) + len(long_texts), len(rows))
    texts |= distributed.gather_from_all(long_texts) if shared else long_texts
    return [texts[index] for index in range(len(rows))]
