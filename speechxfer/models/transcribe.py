"""Audio of any length and number becomes text: files, folders and tables, answered in batches, memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset

from speechxfer.config.recipe import DecodingConfig
from speechxfer.data.audio import is_silent
from speechxfer.data.audio_files import collect_audio
from speechxfer.data.parallel import map_rows
from speechxfer.data.segmentation import AudioSegment, get_header_duration, segment_audio
from speechxfer.data.tables import cell_to_json
from speechxfer.decoding.forced_alignment import WordTiming
from speechxfer.errors import UserError
from speechxfer.models.base import SpeechModel
from speechxfer.models.decoding_options import DecodingOptions, override_decoding
from speechxfer.models.inference import BatchProgress, batch_by_seconds, iter_predictions
from speechxfer.models.loading import load
from speechxfer.models.transcript import Transcript, TranscriptSegment, UnreadableAudio, find_majority_label, join_texts
from speechxfer.models.word_times import CtcModel, predict_with_times, require_ctc
from speechxfer.shapes import SAMPLE_RATE

MAX_SINGLE_SECONDS = (
    30.0  # seconds answered in one piece by a model that states no limit of its own (Whisper's is 30 s)
)
LONG_SEGMENT_SHARE = 28 / 30  # of that, the longest cut of a longer file
_POOL = 4  # batches of audio in memory at once, so that like lengths meet
_NOT_KEPT = ("id", "audio", "path", "bytes", "hypothesis", "segments", "words", "complete")

OnUnreadable = Callable[[UnreadableAudio], None]


def transcribe(
    model: str | Path | SpeechModel,
    audio: str | Path | Sequence[str | Path],
    *,
    decoding: DecodingOptions | None = None,
    device: str = "auto",
    on_bad: OnUnreadable | None = None,
    progress: BatchProgress | None = None,
) -> list[Transcript]:
    """Transcribe audio of any length, in order: `transcribe("whisper-tiny.en", "talk.mp3")[0].text`.

    Args:
        model: any MODEL, or a loaded one; a classifier predicts labels.
        audio: files, folders, or tables (`collect_audio`).
        decoding: how the model is run (default: as it was saved).
        device: auto, cpu, cuda or mps, for a MODEL that is not loaded yet.
        on_bad: called with each file that cannot be read, which is then skipped.
        progress: called with (seconds of audio done, total seconds).

    Raises:
        UserError: if there is no such model or no audio, and, without `on_bad`, at the first file that cannot be read.
    """
    options = decoding or DecodingOptions()
    utterances, missing = collect_audio([audio] if isinstance(audio, str | Path) else audio)
    for error in missing:
        _report(UnreadableAudio(str(error.where), str(error.where), error), on_bad)
    opened = model if isinstance(model, SpeechModel) else load(model, device=device, language=options.language)
    with override_decoding(opened, options):
        return list(iter_transcripts(opened, utterances, options, on_bad=on_bad, progress=progress))


def iter_transcripts(
    model: SpeechModel,
    utterances: Sequence[Dataset],
    options: DecodingOptions,
    *,
    on_bad: OnUnreadable | None = None,
    progress: BatchProgress | None = None,
) -> Iterator[Transcript]:
    """Transcripts in the utterances' order, each as soon as it and those before it are answered.

    Audio is decoded as it is needed: a few batches of it are in memory, however long the files and the tables are.
    On KeyboardInterrupt what has been answered is given first, files half heard among it, then the interrupt raised.
    The other arguments are those of `transcribe`.
    """
    longest, whole = _segment_lengths(model, options.cut_seconds)
    answer = partial(_predict_with_times, require_ctc(model, "words")) if options.words else None
    job = _BatchScheduler(
        model, options.batch_seconds or DecodingConfig.model_validate({}).batch_seconds, on_bad, progress, answer
    )
    if progress:
        job.total = _total_duration(utterances)
    try:
        for row in _rows(utterances):
            one = job.add_utterance(row)
            for cut in _read(one, row, longest, whole):
                job.add_segment(one, cut)
                if job.is_full:
                    job.predict_pending()
                    yield from job.pop_finished()
            if one.error is not None:
                job.drop_utterance(one)
        job.predict_pending()
    except KeyboardInterrupt:
        yield from job.pop_partial()
        raise
    yield from job.pop_finished()


class _Prediction(NamedTuple):
    text: str
    words: list[WordTiming] | None = None  # times from the start of the cut


BatchFunction = Callable[[list[np.ndarray]], Sequence[_Prediction | str]]


class _PendingUtterance:
    """One utterance while its cuts are being answered."""

    def __init__(self, row: Mapping[str, Any], model: SpeechModel) -> None:
        self.id, self.audio, self.stated = row["id"], row["audio"], 0.0
        self.columns, self.classify = _columns(row, model), model.kind == "classify"
        self.times: list[tuple[float, float]] = []  # of its cuts
        self.said: list[_Prediction | None] = []  # None: not yet answered
        self.read, self.whole = False, False
        self.error: UserError | None = None

    @property
    def is_done(self) -> bool:
        return self.read and (self.error is not None or None not in self.said)

    @property
    def done_seconds(self) -> float:
        """Seconds of audio that have been answered."""
        return sum(end - start for (start, end), text in zip(self.times, self.said, strict=True) if text is not None)

    def make_transcript(self) -> Transcript | None:
        """As far as it has been answered without a gap; None where there is nothing to tell."""
        known = self.said.index(None) if None in self.said else len(self.said)
        if self.error is not None or not (self.is_done or known):
            return None
        segments = [
            _segment(start, end, said)
            for (start, end), said in zip(self.times[:known], self.said[:known], strict=True)
            if said is not None
        ]
        return Transcript(
            id=self.id,
            audio=self.audio,
            text=find_majority_label(segments) if self.classify else join_texts(segment.text for segment in segments),
            segments=segments,
            whole=self.whole,
            seconds=round(self.stated or self.done_seconds, 3),
            columns=self.columns,
            complete=self.is_done,
        )


class _BatchScheduler:
    """The utterances begun and not yet given back, in order, and the cuts of them that wait for their answer."""

    def __init__(
        self,
        model: SpeechModel,
        batch_seconds: float,
        on_bad: OnUnreadable | None,
        progress: BatchProgress | None,
        answer: BatchFunction | None = None,
    ) -> None:
        self.model, self.batch_seconds, self.on_bad, self.progress = model, batch_seconds, on_bad, progress
        self.ask = answer
        self.begun: deque[_PendingUtterance] = deque()
        self.waiting: list[tuple[_PendingUtterance, int, np.ndarray]] = []
        self.held = 0.0  # seconds that wait
        self.given, self.total = 0.0, 0.0  # seconds of the utterances given back, of all

    def add_utterance(self, row: Mapping[str, Any]) -> _PendingUtterance:
        self.begun.append(_PendingUtterance(row, self.model))
        return self.begun[-1]

    def add_segment(self, one: _PendingUtterance, cut: AudioSegment) -> None:
        self.waiting.append((one, len(one.said), cut.waveform))
        self.held += self._cost(cut.waveform)
        one.times.append((cut.start, cut.end))
        one.said.append(None)
        one.read = one.whole = cut.is_whole  # of a whole file nothing more will come

    def drop_utterance(self, one: _PendingUtterance) -> None:
        """Its audio turned out to be damaged: what waits of it need not be answered."""
        self.waiting = [cut for cut in self.waiting if cut[0] is not one]
        self.held = sum(self._cost(waveform) for _, _, waveform in self.waiting)

    @property
    def is_full(self) -> bool:
        return self.held >= _POOL * self.batch_seconds * max(1, self.model.num_inflight)

    def predict_pending(self) -> None:
        """Answer all that waits, in batches of like lengths."""
        costs = [self._cost(waveform) for _, _, waveform in self.waiting]
        longest_first = sorted(range(len(costs)), key=lambda place: -len(self.waiting[place][2]))
        batches = batch_by_seconds(longest_first, costs, self.batch_seconds)
        heard = ((batch, [self.waiting[place][2] for place in batch]) for batch in batches)
        for batch, answers in iter_predictions(self.model, heard, self.ask):
            for place, said in zip(batch, answers, strict=True):
                one, number, _ = self.waiting[place]
                one.said[number] = said if isinstance(said, _Prediction) else _Prediction(said)
            self._show()
        self.waiting, self.held = [], 0.0

    def pop_finished(self) -> Iterator[Transcript]:
        """Those at the front that are done leave, in order."""
        while self.begun and self.begun[0].is_done:
            one = self.begun.popleft()
            self.given += one.stated
            if one.error is not None:
                _report(UnreadableAudio(one.id, one.audio, one.error), self.on_bad)
            elif (transcript := one.make_transcript()) is not None:
                yield transcript
        self._show()

    def pop_partial(self) -> Iterator[Transcript]:
        """All that has been answered of the utterances begun."""
        yield from (transcript for one in self.begun if (transcript := one.make_transcript()) is not None)

    def _cost(self, waveform: np.ndarray) -> float:
        return self.model.encoder.compute_padded_seconds(len(waveform) / SAMPLE_RATE)

    def _show(self) -> None:
        if self.progress:
            done = self.given + sum(min(one.stated, one.done_seconds) for one in self.begun)
            self.progress(round(done), max(1, round(self.total)))


def _read(one: _PendingUtterance, row: Mapping[str, Any], longest: float, whole: float) -> Iterator[AudioSegment]:
    """The row's cuts. What is wrong with its audio ends them, and is noted.

    A short file that is silent has none: Whisper writes words for it. To a classifier it may be a class. What is
    silence in a longer one, `segment_audio` has told by its level beside the rest, and a faint stretch is none.
    """
    try:
        one.stated = get_header_duration(row)
        for cut in segment_audio(row, longest=longest, whole=whole):
            if one.classify or not (cut.is_whole and is_silent(cut.waveform)):
                yield cut
    except UserError as error:
        one.error = error
    one.read = True


def _segment(start: float, end: float, said: _Prediction) -> TranscriptSegment:
    """A cut and what was said in it; the words' times are moved to those of the file."""
    moved = None
    if said.words is not None:
        moved = [replace(word, start=start + word.start, end=min(end, start + word.end)) for word in said.words]
    return TranscriptSegment(round(start, 3), round(end, 3), said.text, moved)


def _predict_with_times(model: CtcModel, waveforms: list[np.ndarray]) -> list[_Prediction]:
    return [_Prediction(*said) for said in predict_with_times(model, waveforms)]


def _segment_lengths(model: SpeechModel, cut_seconds: float | None) -> tuple[float, float]:
    """(longest cut of a long file, longest audio that is answered whole), in seconds."""
    longest = model.encoder.max_samples  # samples; Whisper's alone
    most = MAX_SINGLE_SECONDS if longest is None else longest / SAMPLE_RATE
    if cut_seconds is None:
        return most * LONG_SEGMENT_SHARE, most
    if cut_seconds < 1:
        raise UserError(f"{cut_seconds:g} s holds no words; give 1 s or more", where="cut_seconds")
    if longest is not None and cut_seconds > most:
        raise UserError(f"{cut_seconds:g} s, and Whisper's encoder holds {most:g} s", where="cut_seconds")
    return cut_seconds, cut_seconds


def _total_duration(utterances: Sequence[Dataset]) -> float:
    """Seconds of audio by the headers; what cannot be read counts nothing here and is reported in its turn."""

    def seconds(row: dict[str, Any]) -> float:
        try:
            return get_header_duration(row)
        except UserError:
            return 0.0

    needed = ["id", "audio", "path", "bytes", "start", "end"]
    return sum(length for dataset in utterances for length in map_rows(dataset, needed, seconds))


def _rows(utterances: Sequence[Dataset]) -> Iterator[dict[str, Any]]:
    for dataset in utterances:
        yield from dataset


def select_passthrough_columns(names: Collection[str], model: SpeechModel) -> dict[str, str]:
    """What a transcript has beside the hypothesis, and from which column of a table: `reference`, then the others.

    The reference is the text, for a classifier the label.
    """
    known = "label" if model.kind == "classify" and "label" in names else "text"
    reference = {"reference": known} if known in names else {}
    return reference | {name: name for name in names if name not in (*_NOT_KEPT, known, *reference)}


def _columns(row: Mapping[str, Any], model: SpeechModel) -> dict[str, Any]:
    """A row's kept columns, as JSON can hold them; an empty text is no reference."""
    kept = {ours: cell_to_json(row[theirs]) for ours, theirs in select_passthrough_columns(row, model).items()}
    return {name: value for name, value in kept.items() if value is not None and (value or name != "reference")}


def _report(bad: UnreadableAudio, on_bad: OnUnreadable | None) -> None:
    if on_bad is None:
        raise bad.error
    on_bad(bad)
