"""Prepare a detector's data: what to train on, what to hold out, and where each part came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.errors import MissingExtraError, UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import (
    ClipRow,
    ClipRows,
    check_clips,
    load_waveforms,
    read_positives,
    read_rows,
    split_by_word,
    split_held_out,
)
from speechxfer.wakeword.data.mixing import (
    WINDOW_FRAMES,
    PositiveClip,
    TrainingMixer,
    make_coloured_noises,
    make_partial_word_negatives,
    make_positive,
    make_variants,
)
from speechxfer.wakeword.data.near_misses import find_language_gaps, make_filler_sentences, make_near_miss_texts
from speechxfer.wakeword.data.synthetic import ESPEAK_ENGINE, SyntheticSpeaker, list_speakers, synthesize_clips
from speechxfer.wakeword.model.teacher import NEAR_MISS_WINDOW, NO_TEACHER, OTHER_WINDOW, WORD_WINDOW, WindowPool
from speechxfer.wakeword.runtime.features import NUM_MELS, SAMPLE_RATE, compute_mel_energies
from speechxfer.wakeword.settings import (
    MAX_NEGATIVE_HOURS,
    MAX_VARIANTS_PER_CLIP,
    NUM_FILLER_SENTENCES,
    NUM_NEAR_MISSES,
    TARGET_VARIANTS,
    WakeWordSettings,
)

MIN_POSITIVES_FOR_HOLD_OUT = 20  # with fewer recordings of the word, none is held out
_SYNTHETIC_CLIPS = 60  # synthetic clips held out if there are no recordings
_MIN_RELATIVE_DURATION = 0.6  # shortest recording of the word, relative to the shortest of 8 synthetic clips
_SECONDS_PER_HOUR = 3600
_FRAMES_PER_HOUR = 360_000


@dataclass
class RecordedClip:
    """A recording and its row. waveform: (time,) at 16 kHz."""

    row: ClipRow
    waveform: np.ndarray


@dataclass
class PreparedData:
    """Data of a training.

    mixer: training data. held_out_clips, held_out_stream: positives and negatives for calibration. validation:
    negatives that decide when mining stops. rows, spans: training negatives, and the (first frame, number of frames)
    of each one's copies in `mixer.negatives`. kind, clips_kind: of the negatives and of the held-out clips, real or
    synthetic. contaminated: names of negatives left out because they contain the word. window_pool: audio for a
    teacher. sources: for the manifest.
    """

    mixer: TrainingMixer
    held_out_clips: list[RecordedClip]
    held_out_stream: list[RecordedClip]
    validation: list[RecordedClip]
    rows: list[ClipRow]
    spans: list[list[tuple[int, int]]]
    kind: str
    clips_kind: str
    contaminated: list[str]
    window_pool: WindowPool
    sources: list[dict[str, Any]]


@dataclass(frozen=True)
class _Speakers:
    """Synthetic speakers to train on and speakers to hold out; no family is in both."""

    train: list[SyntheticSpeaker]
    held_out: list[SyntheticSpeaker]


@dataclass
class _Preparation:
    """What all steps of the preparation share. rng: random draws depend on the order of the steps."""

    settings: WakeWordSettings
    speakers: _Speakers
    reporter: Reporter
    rng: np.random.Generator
    window_pool: WindowPool
    sources: list[dict[str, Any]] = field(default_factory=list)

    def add_source(self, what: str, clips: int, licence: str, details: dict[str, Any] | None = None) -> None:
        """Add a source of data to the manifest."""
        self.sources.append({"what": what, "clips": clips, "licence": licence, **(details or {})})


@dataclass
class _WordData:
    """Clips of the word and near misses. clips_kind: of the held-out clips."""

    positives: list[PositiveClip] = field(default_factory=list)
    near_misses: list[np.ndarray] = field(default_factory=list)
    held_out: list[RecordedClip] = field(default_factory=list)
    clips_kind: str = "real"


@dataclass
class _Negatives:
    """Speech without the word. train_waveforms: of `train`, loaded while they are iterated over."""

    train: list[ClipRow]
    train_waveforms: Iterable[np.ndarray]
    held_out: list[RecordedClip]
    validation: list[RecordedClip]
    kind: str
    licence: str
    contaminated: list[str] = field(default_factory=list)


def prepare_training_data(settings: WakeWordSettings, reporter: Reporter) -> PreparedData:
    """Read, synthesize and augment all data that the settings name.

    Raises: UserError for recordings that cannot be used; MissingExtraError if synthetic speech is needed without
    espeak-ng.
    """
    columns = settings.columns
    negative_rows = None if settings.negatives is None else read_rows(settings.negatives, columns)  # fails early
    noise_rows = [] if settings.noise is None else read_rows(settings.noise, columns)
    prep = _Preparation(
        settings=settings,
        speakers=_split_speakers(settings),
        reporter=reporter,
        rng=np.random.default_rng([settings.seed, 1]),
        window_pool=WindowPool(settings.teacher != NO_TEACHER, settings.seed),
    )
    clips = ClipRows([])
    if settings.positives is not None:
        clips = read_positives(settings.positives, settings.word, columns)
    word = _prepare_word(prep, clips)
    if negative_rows is not None:
        negatives = _prepare_recorded_negatives(prep, negative_rows, clips.rows)
    else:
        negatives = _synthesize_negatives(prep)
    energies, spans, hours = _augment_negatives(prep, negatives.train_waveforms)
    prep.add_source(
        f"{negatives.kind} speech without the word",
        len(spans),
        negatives.licence,
        {"hours": round(hours, 3), "held_out": len(negatives.held_out), "checked": len(negatives.validation)},
    )
    mixer = TrainingMixer(word.positives, energies, word.near_misses, _prepare_noises(prep, noise_rows))
    return PreparedData(
        mixer=replace(mixer, quiet_share=prep.settings.quiet_share),
        held_out_clips=word.held_out,
        held_out_stream=negatives.held_out,
        validation=negatives.validation,
        rows=negatives.train[: len(spans)],
        spans=spans,
        kind=negatives.kind,
        clips_kind=word.clips_kind,
        contaminated=negatives.contaminated,
        window_pool=prep.window_pool,
        sources=prep.sources,
    )


def _prepare_word(prep: _Preparation, clips: ClipRows) -> _WordData:
    """Return positives and near misses from recordings, from synthetic speech, or both."""
    word = _WordData()
    _add_recordings(prep, clips, word)
    count = prep.settings.synthetic
    if count is None:
        count = 120 if clips.rows else 400
    if count:
        _add_synthetic_clips(prep, count, word)
        if not clips.rows:
            spoken = _synthesize(prep, [prep.settings.word], _SYNTHETIC_CLIPS, prep.speakers.held_out)
            word.held_out, word.clips_kind = spoken, "synthetic"
    if not word.positives:
        raise UserError("no clips of the word to train on", fix="give --positives, or a larger --synthetic")
    return word


def _add_recordings(prep: _Preparation, clips: ClipRows, word: _WordData) -> None:
    """Add the recordings of the word, near misses made from them, and recordings of other words."""
    settings, rows = prep.settings, clips.rows
    train, held_out = split_held_out(rows, settings.held_out) if len(rows) >= MIN_POSITIVES_FOR_HOLD_OUT else (rows, [])
    copies = int(np.clip(TARGET_VARIANTS // max(1, len(train)), 2, MAX_VARIANTS_PER_CLIP))
    with prep.reporter.progress("recordings of the word") as progress:
        for done, waveform in enumerate(load_waveforms(train), 1):
            word.positives += [make_positive(energies) for energies in make_variants(waveform, copies, prep.rng)]
            prep.window_pool.add(WORD_WINDOW, waveform)
            progress(done, len(train))
    originals = [clip.energies for clip in word.positives[::copies]]
    check_clips(train, originals, str(settings.positives), min_seconds=_min_word_seconds(prep))
    if 0 < len(rows) < MIN_POSITIVES_FOR_HOLD_OUT:
        prep.reporter.info(
            f"Only {len(rows)} recording{'s' * (len(rows) != 1)} of the word: none is held out, so the miss rate is "
            f"unknown (at least {MIN_POSITIVES_FOR_HOLD_OUT} are needed)"
        )
    word.near_misses += [part for clip in word.positives for part in make_partial_word_negatives(clip, prep.rng)]
    for waveform in load_waveforms(clips.other_words):
        word.near_misses += make_variants(waveform, 2, prep.rng)
        prep.window_pool.add(NEAR_MISS_WINDOW, waveform)
    if rows:
        prep.add_source("recordings of the word", len(rows), settings.licence, {"held_out": len(held_out)})
    if clips.other_words:
        prep.add_source("recordings of other words", len(clips.other_words), settings.licence)
    word.held_out = _load_clips(held_out)


def _min_word_seconds(prep: _Preparation) -> float:
    """Estimate the shortest duration of the word from synthetic speech; 0 without espeak-ng."""
    if not prep.speakers.train:
        return 0.0
    spoken = synthesize_clips([prep.settings.word], 8, prep.rng, prep.speakers.train)
    return _MIN_RELATIVE_DURATION * min(len(clip.waveform) for clip in spoken) / SAMPLE_RATE


def _add_synthetic_clips(prep: _Preparation, count: int, word: _WordData) -> None:
    """Add `count` synthetic clips of the word, and synthetic near misses."""
    speakers, rng = prep.speakers.train, prep.rng
    if not speakers:
        raise MissingExtraError("espeakng-loader", "demo", "synthetic recordings of the word")
    for spoken in synthesize_clips([prep.settings.word], count, rng, speakers):
        word.positives += [make_positive(energies) for energies in make_variants(spoken.waveform, 3, rng)]
        prep.window_pool.add(WORD_WINDOW, spoken.waveform)
    texts = make_near_miss_texts(prep.settings.word, rng, language=prep.settings.language)
    for gap in find_language_gaps(prep.settings.word, prep.settings.language, texts):
        prep.reporter.warn(gap)
    for spoken in synthesize_clips(texts, NUM_NEAR_MISSES, rng, speakers) if texts else []:
        word.near_misses += make_variants(spoken.waveform, 2, rng)
        prep.window_pool.add(NEAR_MISS_WINDOW, spoken.waveform)
    licence = _describe_engines(prep.speakers)
    prep.add_source("synthetic recordings of the word", count, licence)
    prep.add_source("synthetic near misses", NUM_NEAR_MISSES if texts else 0, licence, {"texts": texts})


def _prepare_recorded_negatives(prep: _Preparation, rows: list[ClipRow], word_rows: list[ClipRow]) -> _Negatives:
    """Split the given negatives, without those that contain the word or are recordings of it."""
    settings = prep.settings
    contaminated, candidates = split_by_word(rows, settings.word)
    word_recordings = set(recording_keys(word_rows))
    negatives: list[ClipRow] = []
    for row, key in zip(candidates, recording_keys(candidates), strict=True):
        (contaminated if key in word_recordings else negatives).append(row)
    if not negatives:
        where, fix = str(settings.negatives), "give speech without the word"
        raise UserError("every row contains the word", where=where, fix=fix)
    train, held_out = split_held_out(negatives, settings.held_out)
    if not train:
        train, held_out = negatives, []
    train, validation = _split_validation(train, settings)
    return _Negatives(
        train,
        _iterate_waveforms(train, prep.reporter),
        _load_clips(held_out),
        _load_clips(validation),
        "real",
        settings.licence,
        [str(row["audio"]) for row in contaminated],
    )


def _synthesize_negatives(prep: _Preparation) -> _Negatives:
    """Synthesize everyday sentences in place of recorded negatives."""
    settings, speakers = prep.settings, prep.speakers
    if not speakers.train:
        raise MissingExtraError("espeakng-loader", "demo", "training without --negatives")
    for gap in find_language_gaps(settings.word, settings.language):
        prep.reporter.warn(gap)
    sentences = make_filler_sentences(settings.language)
    sentences = [line for line in sentences if settings.word.casefold() not in line.casefold()]
    texts = [sentences[i] for i in prep.rng.permutation(len(sentences))]
    first = len(texts) // 5
    second = first + round(settings.validation_share * len(texts))
    train = _synthesize(prep, texts[second:], NUM_FILLER_SENTENCES, speakers.train)
    held_out = _synthesize(prep, texts[:first], NUM_FILLER_SENTENCES // 4, speakers.held_out)
    validation: list[RecordedClip] = []
    if first < second:
        validation = _synthesize(prep, texts[first:second], NUM_FILLER_SENTENCES // 8, speakers.held_out)
    return _Negatives(
        [clip.row for clip in train],
        [clip.waveform for clip in train],
        held_out,
        validation,
        "synthetic",
        _describe_engines(speakers),
    )


def _split_validation(rows: list[ClipRow], settings: WakeWordSettings) -> tuple[list[ClipRow], list[ClipRow]]:
    """Split into rows to train on and rows for validation; `validation_share` is relative to all negatives."""
    train, validation = split_held_out(rows, settings.validation_share / (1 - settings.held_out), salt="mining")
    return (train, validation) if train else (rows, [])


def _augment_negatives(
    prep: _Preparation, waveforms: Iterable[np.ndarray]
) -> tuple[np.ndarray, list[list[tuple[int, int]]], float]:
    """Compute the energies of the negatives and of one augmented copy each, up to `MAX_NEGATIVE_HOURS`.

    Returns: (frames, NUM_MELS), the (first frame, number of frames) of each negative's copies, the hours of audio.
    """
    pieces: list[np.ndarray] = []
    spans: list[list[tuple[int, int]]] = []
    num_samples = num_frames = 0
    for waveform in waveforms:
        if num_frames > MAX_NEGATIVE_HOURS * _FRAMES_PER_HOUR:
            hours = num_samples / SAMPLE_RATE / _SECONDS_PER_HOUR
            prep.reporter.info(f"Only the first {hours:.1f} h of negatives are used, to limit memory")
            break
        num_samples += len(waveform)
        prep.window_pool.add(OTHER_WINDOW, waveform)
        spans.append([])
        for energies in make_variants(waveform, 2, prep.rng):
            pieces.append(energies)
            spans[-1].append((num_frames, len(energies)))
            num_frames += len(energies)
    missing = WINDOW_FRAMES + 1 - num_frames
    if missing > 0:
        pieces.append(np.zeros((missing, NUM_MELS), np.float32))
    return np.concatenate(pieces), spans, num_samples / SAMPLE_RATE / _SECONDS_PER_HOUR


def recording_keys(rows: Sequence[ClipRow]) -> list[tuple[Any, ...]]:
    """Return keys that identify recordings under any name: path (or embedded bytes), start and end."""
    return [
        (Path(row["path"]).resolve() if row.get("path") else row.get("bytes"), row.get("start"), row.get("end"))
        for row in rows
    ]


def _iterate_waveforms(rows: Sequence[ClipRow], reporter: Reporter) -> Iterator[np.ndarray]:
    with reporter.progress("other speech") as progress:
        for done, waveform in enumerate(load_waveforms(rows), 1):
            yield waveform
            progress(done, len(rows))


def _prepare_noises(prep: _Preparation, rows: Sequence[ClipRow]) -> np.ndarray:
    """Return the energies of generated and recorded noises, each of mean power 1."""
    generated = make_coloured_noises(prep.rng)
    if not rows:
        return generated
    recorded = [compute_mel_energies(waveform) for waveform in load_waveforms(rows)]
    prep.add_source("noises", len(rows), prep.settings.licence)
    return np.concatenate([generated, *(e / max(float(e.sum(axis=1).mean()), 1e-9) for e in recorded if len(e))])


def _split_speakers(settings: WakeWordSettings) -> _Speakers:
    """Hold out one in six families of each engine; no speakers without espeak-ng."""
    try:
        speakers = list_speakers(settings.language, settings.voices)
    except MissingExtraError as error:
        if error.package != "espeakng-loader":
            raise
        return _Speakers([], [])
    families: set[str] = set()
    for engine in {speaker.engine for speaker in speakers}:
        families |= set(sorted({speaker.family for speaker in speakers if speaker.engine == engine})[3::6])
    return _Speakers(
        [speaker for speaker in speakers if speaker.family not in families],
        [speaker for speaker in speakers if speaker.family in families],
    )


def _describe_engines(speakers: _Speakers) -> str:
    """Return the origin of synthetic speech, recorded as its licence in the manifest."""
    both = [*speakers.train, *speakers.held_out]
    piper = sorted({speaker.name.partition("#")[0] for speaker in both if speaker.engine != ESPEAK_ENGINE})
    return " and ".join([f"{ESPEAK_ENGINE}'s output", *(f"that of Piper's {name}" for name in piper)])


def _load_clips(rows: Sequence[ClipRow]) -> list[RecordedClip]:
    return [RecordedClip(row, waveform) for row, waveform in zip(rows, load_waveforms(rows), strict=True)]


def _synthesize(
    prep: _Preparation, texts: Sequence[str], count: int, speakers: Sequence[SyntheticSpeaker]
) -> list[RecordedClip]:
    clips = []
    for spoken in synthesize_clips(texts, count, prep.rng, speakers):
        name = f"{spoken.speaker}: {spoken.text}"
        row = {"id": name, "audio": name, "speaker": spoken.speaker, "text": spoken.text}
        clips.append(RecordedClip(row, spoken.waveform))
    return clips
