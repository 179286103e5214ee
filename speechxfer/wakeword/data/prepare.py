"""Gathers a detector's sounds: what to train on, what to hold out, and where each came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.data.audio import load_waveform
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import Row, check_clips, read_positives, read_rows, split_by_word, split_held_out
from speechxfer.wakeword.data.mixing import (
    WINDOW_FRAMES,
    PositiveClip,
    TrainingMixer,
    make_coloured_noises,
    make_partial_word_negatives,
    make_positive,
    make_variants,
)
from speechxfer.wakeword.data.synthetic import (
    ESPEAK_ENGINE,
    SyntheticClip,
    SyntheticSpeaker,
    list_speakers,
    make_filler_sentences,
    make_near_miss_texts,
    synthesize_clips,
)
from speechxfer.wakeword.model.teacher import NEAR_MISS_WINDOW as NEAR_MISS
from speechxfer.wakeword.model.teacher import NO_TEACHER, OTHER_WINDOW, WORD_WINDOW, WindowPool
from speechxfer.wakeword.runtime.features import NUM_MELS, SAMPLE_RATE, compute_mel_energies
from speechxfer.wakeword.settings import (
    MAX_NEGATIVE_HOURS,
    MAX_VARIANTS_PER_CLIP,
    NUM_FILLER_SENTENCES,
    NUM_NEAR_MISSES,
    TARGET_VARIANTS,
    WakeWordSettings,
)

MIN_POSITIVES_FOR_HOLD_OUT = 20  # recordings of the word, from which some are held out
_SYNTHETIC_CLIPS = 60  # held out, where no recording is
_HURRIED = 0.6  # a recording under this share of the quickest synthetic one cannot hold the word
SpeakerList = list[SyntheticSpeaker]


@dataclass
class RecordedClip:
    """A recording and the row that it came from. waveform: (time,) at 16 kHz."""

    row: Row
    waveform: np.ndarray


@dataclass
class PreparedData:
    """material: to train on. clips, stream: held out, for calibration. checked: held out, by which mining ends.

    rows, spans: the negatives and, of each, first frame and number of frames of its copies in `material.negatives`.
    kind: of the negatives, real or synthetic. contaminated: negatives left out because they say the word.
    pool: sounds for a teacher, none where none is wanted. sources: for the manifest.
    """

    mixer: TrainingMixer
    held_out_clips: list[RecordedClip]
    held_out_stream: list[RecordedClip]
    validation: list[RecordedClip]
    rows: list[Row]
    spans: list[list[tuple[int, int]]]
    kind: str
    clips_kind: str
    contaminated: list[str]
    window_pool: WindowPool
    sources: list[dict[str, Any]]


@dataclass
class _Negatives:
    train: list[Row]
    train_sounds: Iterable[np.ndarray]
    held: list[RecordedClip]
    checked: list[RecordedClip]
    kind: str
    licence: str
    contaminated: list[str] = field(default_factory=list)


def prepare_training_data(settings: WakeWordSettings, narrator: Reporter) -> PreparedData:
    """Read, speak and vary everything that `settings` name. Raises UserError for recordings that cannot be used."""
    pool = WindowPool(settings.teacher != NO_TEACHER, settings.seed)
    rng = np.random.default_rng([settings.seed, 1])
    sources: list[dict[str, Any]] = []
    given = None if settings.negatives is None else read_rows(settings.negatives)  # a wrong path is told at once
    noises = [] if settings.noise is None else read_rows(settings.noise)
    voices = _voices(settings)
    rows, others = _recordings(settings)
    positives, near, clips, clips_kind = _prepare_word(settings, voices, rng, sources, narrator, pool, rows, others)
    found = _prepare_negatives(settings, given, rows, voices, rng, narrator)
    negatives, spans, hours = _augment_negatives(found.train_sounds, rng, narrator, pool)
    source = _source(f"{found.kind} speech without the word", len(spans), found.licence)
    sources.append({**source, "hours": round(hours, 3), "held_out": len(found.held), "checked": len(found.checked)})
    return PreparedData(
        mixer=TrainingMixer(positives, negatives, near, _noises(settings, noises, rng, sources)),
        held_out_clips=clips,
        held_out_stream=found.held,
        validation=found.checked,
        rows=found.train[: len(spans)],
        spans=spans,
        kind=found.kind,
        clips_kind=clips_kind,
        contaminated=found.contaminated,
        sources=sources,
        window_pool=pool,
    )


def _prepare_word(
    settings: WakeWordSettings, voices: tuple[SpeakerList, SpeakerList], rng: np.random.Generator, sources: list[dict[str, Any]],
    narrator: Reporter, pool: WindowPool, rows: list[Row], others: list[Row],
) -> tuple[list[PositiveClip], list[np.ndarray], list[RecordedClip], str]:  # fmt: skip
    """The word's clips to train on, near misses, clips held out and their kind."""
    train, held = split_held_out(rows, settings.held_out) if len(rows) >= MIN_POSITIVES_FOR_HOLD_OUT else (rows, [])
    positives: list[PositiveClip] = []
    copies = int(np.clip(TARGET_VARIANTS // max(1, len(train)), 2, MAX_VARIANTS_PER_CLIP))
    with narrator.progress("recordings of the word") as told:
        for done, waveform in enumerate(map(load_waveform, train), 1):
            positives += [make_positive(energies) for energies in make_variants(waveform, copies, rng)]
            pool.add(WORD_WINDOW, waveform)
            told(done, len(train))
    least = min(len(s.waveform) for s in synthesize_clips([settings.word], 8, rng, voices[0])) if voices[0] else 0
    unchanged = [clip.energies for clip in positives[::copies]]
    check_clips(train, unchanged, str(settings.positives), least=_HURRIED * least / SAMPLE_RATE)
    if 0 < len(rows) < MIN_POSITIVES_FOR_HOLD_OUT:
        narrator.info(f"{len(rows)} recordings of the word are few: none is held out, so its misses are not known")
    near = [part for clip in positives for part in make_partial_word_negatives(clip, rng)]
    for waveform in map(load_waveform, others):
        near += make_variants(waveform, 2, rng)
        pool.add(NEAR_MISS, waveform)
    if rows:
        sources.append({**_source("recordings of the word", len(rows), settings.licence), "held_out": len(held)})
    if others:
        sources.append(_source("recordings of other words", len(others), settings.licence))

    clips, kind = _sounds(held), "real"
    count = settings.synthetic if settings.synthetic is not None else (120 if rows else 400)
    if count:
        if not voices[0]:
            raise MissingExtraError("espeakng-loader", "demo", "synthetic recordings of the word")
        for spoken in synthesize_clips([settings.word], count, rng, voices[0]):
            positives += [make_positive(energies) for energies in make_variants(spoken.waveform, 3, rng)]
            pool.add(WORD_WINDOW, spoken.waveform)
        texts = make_near_miss_texts(settings.word, rng)
        for spoken in synthesize_clips(texts, NUM_NEAR_MISSES, rng, voices[0]) if texts else []:
            near += make_variants(spoken.waveform, 2, rng)
            pool.add(NEAR_MISS, spoken.waveform)
        sources.append(_source("synthetic recordings of the word", count, _output(voices)))
        near_misses = _source("synthetic near misses", NUM_NEAR_MISSES if texts else 0, _output(voices))
        sources.append({**near_misses, "texts": texts})
        if not rows:
            kind = "synthetic"
            clips = [_sound(s) for s in synthesize_clips([settings.word], _SYNTHETIC_CLIPS, rng, voices[1])]
    if not positives:
        raise UserError("there is nothing of the word to train on", fix="give --positives, or let --synthetic speak it")
    return positives, near, clips, kind


def _prepare_negatives(
    settings: WakeWordSettings, given: list[Row] | None, of_the_word: list[Row], voices: tuple[SpeakerList, SpeakerList],
    rng: np.random.Generator, narrator: Reporter,
) -> _Negatives:  # fmt: skip
    """Other speech: as given, but for what says the word or is one of its recordings; else synthetic sentences."""
    if given is not None:
        contaminated, rows = split_by_word(given, settings.word)
        recorded = set(_places(of_the_word))
        others: list[Row] = []
        for row, place in zip(rows, _places(rows), strict=True):
            (contaminated if place in recorded else others).append(row)
        if not others:
            where, fix = str(settings.negatives), "give speech without the word"
            raise UserError("every row holds the word", where=where, fix=fix)
        train, held = split_held_out(others, settings.held_out)
        if not train:
            train, held = others, []
        train, checked = _split_validation(train, settings)
        named = [str(row["audio"]) for row in contaminated]
        return _Negatives(
            train, _loaded(train, narrator), _sounds(held), _sounds(checked), "real", settings.licence, named
        )  # fmt: skip
    if not voices[0]:
        raise MissingExtraError("espeakng-loader", "demo", "training without --negatives")
    lines = [line for line in make_filler_sentences() if settings.word.casefold() not in line.casefold()]
    order = [lines[i] for i in rng.permutation(len(lines))]
    first, second = len(order) // 5, len(order) // 5 + round(settings.validation_share * len(order))
    spoken = [_sound(s) for s in synthesize_clips(order[second:], NUM_FILLER_SENTENCES, rng, voices[0])]
    calibrating = [_sound(s) for s in synthesize_clips(order[:first], NUM_FILLER_SENTENCES // 4, rng, voices[1])]
    texts = order[first:second]
    checking = [_sound(s) for s in synthesize_clips(texts, NUM_FILLER_SENTENCES // 8, rng, voices[1])] if texts else []
    return _Negatives(
        [s.row for s in spoken], [s.waveform for s in spoken], calibrating, checking, "synthetic", _output(voices)
    )  # fmt: skip


def _split_validation(rows: list[Row], settings: WakeWordSettings) -> tuple[list[Row], list[Row]]:
    """Rows to train on, and those by which mining ends: `check` of the whole, taken from what is not held out."""
    train, checked = split_held_out(rows, settings.validation_share / (1 - settings.held_out), salt="mining")
    return (train, checked) if train else (rows, [])


def _augment_negatives(
    sounds: Iterable[np.ndarray], rng: np.random.Generator, narrator: Reporter, pool: WindowPool
) -> tuple[np.ndarray, list[list[tuple[int, int]]], float]:
    """Negatives one after another, as they are and changed, as far as memory goes; their places; hours unchanged."""
    pieces: list[np.ndarray] = []
    spans: list[list[tuple[int, int]]] = []
    samples = at = 0
    for waveform in sounds:
        if at > MAX_NEGATIVE_HOURS * 360_000:
            narrator.info(
                f"the first {samples / SAMPLE_RATE / 3600:.1f} h of negatives are used: more would not fit in memory"
            )
            break
        samples += len(waveform)
        pool.add(OTHER_WINDOW, waveform)
        spans.append([])
        for energies in make_variants(waveform, 2, rng):
            pieces.append(energies)
            spans[-1].append((at, len(energies)))
            at += len(energies)
    short = WINDOW_FRAMES + 1 - at
    if short > 0:
        pieces.append(np.zeros((short, NUM_MELS), np.float32))
    return np.concatenate(pieces), spans, samples / SAMPLE_RATE / 3600


def _recordings(settings: WakeWordSettings) -> tuple[list[Row], list[Row]]:
    if settings.positives is None:
        return [], []
    found = read_positives(settings.positives, settings.word)
    return found.rows, found.other_words


def _places(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """By which a recording is known again under another name; embedded audio by its bytes."""
    return [
        (Path(row["path"]).resolve() if row.get("path") else row.get("bytes"), row.get("start"), row.get("end"))
        for row in rows
    ]


def _loaded(rows: Sequence[Row], narrator: Reporter) -> Iterator[np.ndarray]:
    with narrator.progress("other speech") as told:
        for done, row in enumerate(rows, 1):
            yield load_waveform(row)
            told(done, len(rows))


def _noises(
    settings: WakeWordSettings, rows: Sequence[Row], rng: np.random.Generator, sources: list[dict[str, Any]]
) -> np.ndarray:
    """Made-up noises, and those of the user's, each of power 1 so that a ratio can be set."""
    made = make_coloured_noises(rng)
    if not rows:
        return made
    found = [compute_mel_energies(load_waveform(row)) for row in rows]
    sources.append(_source("noises", len(rows), settings.licence))
    return np.concatenate([made, *(e / max(float(e.sum(axis=1).mean()), 1e-9) for e in found if len(e))])


def _voices(settings: WakeWordSettings) -> tuple[SpeakerList, SpeakerList]:
    """Speakers to train on and speakers to hold out, none where espeak-ng is not installed. No family is in both."""
    try:
        found = list_speakers(settings.language, settings.voices)
    except MissingExtraError as error:
        if error.package != "espeakng-loader":
            raise
        return [], []
    held: set[str] = set()
    for engine in {speaker.engine for speaker in found}:
        held |= set(sorted({speaker.family for speaker in found if speaker.engine == engine})[3::6])
    return [s for s in found if s.family not in held], [s for s in found if s.family in held]


def _output(voices: tuple[SpeakerList, SpeakerList]) -> str:
    """Whose speech it is, in place of a licence."""
    both = [*voices[0], *voices[1]]
    piper = sorted({speaker.name.partition("#")[0] for speaker in both if speaker.engine != ESPEAK_ENGINE})
    return " and ".join([f"{ESPEAK_ENGINE}'s output", *(f"that of Piper's {name}" for name in piper)])


def _sounds(rows: Sequence[Row]) -> list[RecordedClip]:
    return [RecordedClip(row, load_waveform(row)) for row in rows]


def _sound(spoken: SyntheticClip) -> RecordedClip:
    name = f"{spoken.speaker}: {spoken.text}"
    return RecordedClip({"id": name, "audio": name, "speaker": spoken.speaker, "text": spoken.text}, spoken.waveform)


def _source(what: str, clips: int, licence: str) -> dict[str, Any]:
    return {"what": what, "clips": clips, "licence": licence}
