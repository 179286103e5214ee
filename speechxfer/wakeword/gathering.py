"""Gathers a detector's sounds: what to train on, what to hold out, and where each came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechxfer.data.audio import load
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.report.progress import Narrator
from speechxfer.wakeword.clips import Row, check_clips, hold_out, read_positives, read_rows, split_by_word
from speechxfer.wakeword.features import MELS, RATE, mel_energies
from speechxfer.wakeword.material import FRAMES, Material, Positive, coloured_noises, parts_of, positive_of, variants
from speechxfer.wakeword.settings import MOST_HOURS, MOST_VARIANTS, NEAR, SENTENCES, VARIANTS, Settings
from speechxfer.wakeword.synthetic import ESPEAK, Speaker, Spoken, near_texts, plain_sentences, speak_all, speakers
from speechxfer.wakeword.teacher import NEAR as NEAR_MISS
from speechxfer.wakeword.teacher import NONE, OTHER, WORD, Pool

FEWEST = 20  # recordings of the word, from which some are held out
_SYNTHETIC_CLIPS = 60  # held out, where no recording is
_HURRIED = 0.6  # a recording under this share of the quickest synthetic one cannot hold the word
Voices = list[Speaker]


@dataclass
class Sound:
    """A recording and the row that it came from. waveform: (time,) at 16 kHz."""

    row: Row
    waveform: np.ndarray


@dataclass
class Gathered:
    """material: to train on. clips, stream: held out, for calibration. checked: held out, by which mining ends.

    rows, spans: the negatives and, of each, first frame and number of frames of its copies in `material.negatives`.
    kind: of the negatives, real or synthetic. with_word: negatives left out because they say the word.
    pool: sounds for a teacher, none where none is wanted. sources: for the manifest.
    """

    material: Material
    clips: list[Sound]
    stream: list[Sound]
    checked: list[Sound]
    rows: list[Row]
    spans: list[list[tuple[int, int]]]
    kind: str
    clips_kind: str
    with_word: list[str]
    pool: Pool
    sources: list[dict[str, Any]]


@dataclass
class _Negatives:
    train: list[Row]
    train_sounds: Iterable[np.ndarray]
    held: list[Sound]
    checked: list[Sound]
    kind: str
    licence: str
    with_word: list[str] = field(default_factory=list)


def gather(settings: Settings, narrator: Narrator) -> Gathered:
    """Read, speak and vary everything that `settings` name. Raises UserError for recordings that cannot be used."""
    pool = Pool(settings.teacher != NONE, settings.seed)
    rng = np.random.default_rng([settings.seed, 1])
    sources: list[dict[str, Any]] = []
    given = None if settings.negatives is None else read_rows(settings.negatives)  # a wrong path is told at once
    noises = [] if settings.noise is None else read_rows(settings.noise)
    voices = _voices(settings)
    rows, others = _recordings(settings)
    positives, near, clips, clips_kind = _word(settings, voices, rng, sources, narrator, pool, rows, others)
    found = _negatives(settings, given, rows, voices, rng, narrator)
    negatives, spans, hours = _varied(found.train_sounds, rng, narrator, pool)
    source = _source(f"{found.kind} speech without the word", len(spans), found.licence)
    sources.append({**source, "hours": round(hours, 3), "held_out": len(found.held), "checked": len(found.checked)})
    return Gathered(
        material=Material(positives, negatives, near, _noises(settings, noises, rng, sources)),
        clips=clips,
        stream=found.held,
        checked=found.checked,
        rows=found.train[: len(spans)],
        spans=spans,
        kind=found.kind,
        clips_kind=clips_kind,
        with_word=found.with_word,
        sources=sources,
        pool=pool,
    )


def _word(
    settings: Settings, voices: tuple[Voices, Voices], rng: np.random.Generator, sources: list[dict[str, Any]],
    narrator: Narrator, pool: Pool, rows: list[Row], others: list[Row],
) -> tuple[list[Positive], list[np.ndarray], list[Sound], str]:  # fmt: skip
    """The word's clips to train on, near misses, clips held out and their kind."""
    train, held = hold_out(rows, settings.held_out) if len(rows) >= FEWEST else (rows, [])
    positives: list[Positive] = []
    copies = int(np.clip(VARIANTS // max(1, len(train)), 2, MOST_VARIANTS))
    with narrator.bar("recordings of the word") as told:
        for done, waveform in enumerate(map(load, train), 1):
            positives += [positive_of(energies) for energies in variants(waveform, copies, rng)]
            pool.add(WORD, waveform)
            told(done, len(train))
    least = min(len(s.waveform) for s in speak_all([settings.word], 8, rng, voices[0])) if voices[0] else 0
    unchanged = [clip.energies for clip in positives[::copies]]
    check_clips(train, unchanged, str(settings.positives), least=_HURRIED * least / RATE)
    if 0 < len(rows) < FEWEST:
        narrator.say(f"{len(rows)} recordings of the word are few: none is held out, so its misses are not known")
    near = [part for clip in positives for part in parts_of(clip, rng)]
    for waveform in map(load, others):
        near += variants(waveform, 2, rng)
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
        for spoken in speak_all([settings.word], count, rng, voices[0]):
            positives += [positive_of(energies) for energies in variants(spoken.waveform, 3, rng)]
            pool.add(WORD, spoken.waveform)
        texts = near_texts(settings.word, rng)
        for spoken in speak_all(texts, NEAR, rng, voices[0]) if texts else []:
            near += variants(spoken.waveform, 2, rng)
            pool.add(NEAR_MISS, spoken.waveform)
        sources.append(_source("synthetic recordings of the word", count, _output(voices)))
        near_misses = _source("synthetic near misses", NEAR if texts else 0, _output(voices))
        sources.append({**near_misses, "texts": texts})
        if not rows:
            kind = "synthetic"
            clips = [_sound(s) for s in speak_all([settings.word], _SYNTHETIC_CLIPS, rng, voices[1])]
    if not positives:
        raise UserError("there is nothing of the word to train on", fix="give --positives, or let --synthetic speak it")
    return positives, near, clips, kind


def _negatives(
    settings: Settings, given: list[Row] | None, of_the_word: list[Row], voices: tuple[Voices, Voices],
    rng: np.random.Generator, narrator: Narrator,
) -> _Negatives:  # fmt: skip
    """Other speech: as given, but for what says the word or is one of its recordings; else synthetic sentences."""
    if given is not None:
        with_word, rows = split_by_word(given, settings.word)
        recorded = set(_places(of_the_word))
        others: list[Row] = []
        for row, place in zip(rows, _places(rows), strict=True):
            (with_word if place in recorded else others).append(row)
        if not others:
            where, fix = str(settings.negatives), "give speech without the word"
            raise UserError("every row holds the word", where=where, fix=fix)
        train, held = hold_out(others, settings.held_out)
        if not train:
            train, held = others, []
        train, checked = _set_aside(train, settings)
        named = [str(row["audio"]) for row in with_word]
        return _Negatives(
            train, _loaded(train, narrator), _sounds(held), _sounds(checked), "real", settings.licence, named
        )  # fmt: skip
    if not voices[0]:
        raise MissingExtraError("espeakng-loader", "demo", "training without --negatives")
    lines = [line for line in plain_sentences() if settings.word.casefold() not in line.casefold()]
    order = [lines[i] for i in rng.permutation(len(lines))]
    first, second = len(order) // 5, len(order) // 5 + round(settings.check * len(order))
    spoken = [_sound(s) for s in speak_all(order[second:], SENTENCES, rng, voices[0])]
    calibrating = [_sound(s) for s in speak_all(order[:first], SENTENCES // 4, rng, voices[1])]
    texts = order[first:second]
    checking = [_sound(s) for s in speak_all(texts, SENTENCES // 8, rng, voices[1])] if texts else []
    return _Negatives(
        [s.row for s in spoken], [s.waveform for s in spoken], calibrating, checking, "synthetic", _output(voices)
    )  # fmt: skip


def _set_aside(rows: list[Row], settings: Settings) -> tuple[list[Row], list[Row]]:
    """Rows to train on, and those by which mining ends: `check` of the whole, taken from what is not held out."""
    train, checked = hold_out(rows, settings.check / (1 - settings.held_out), salt="mining")
    return (train, checked) if train else (rows, [])


def _varied(
    sounds: Iterable[np.ndarray], rng: np.random.Generator, narrator: Narrator, pool: Pool
) -> tuple[np.ndarray, list[list[tuple[int, int]]], float]:
    """Negatives one after another, as they are and changed, as far as memory goes; their places; hours unchanged."""
    pieces: list[np.ndarray] = []
    spans: list[list[tuple[int, int]]] = []
    samples = at = 0
    for waveform in sounds:
        if at > MOST_HOURS * 360_000:
            narrator.say(f"the first {samples / RATE / 3600:.1f} h of negatives are used: more would not fit in memory")
            break
        samples += len(waveform)
        pool.add(OTHER, waveform)
        spans.append([])
        for energies in variants(waveform, 2, rng):
            pieces.append(energies)
            spans[-1].append((at, len(energies)))
            at += len(energies)
    short = FRAMES + 1 - at
    if short > 0:
        pieces.append(np.zeros((short, MELS), np.float32))
    return np.concatenate(pieces), spans, samples / RATE / 3600


def _recordings(settings: Settings) -> tuple[list[Row], list[Row]]:
    if settings.positives is None:
        return [], []
    found = read_positives(settings.positives, settings.word)
    return found.rows, found.others


def _places(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """By which a recording is known again under another name; embedded audio by its bytes."""
    return [
        (Path(row["path"]).resolve() if row.get("path") else row.get("bytes"), row.get("start"), row.get("end"))
        for row in rows
    ]


def _loaded(rows: Sequence[Row], narrator: Narrator) -> Iterator[np.ndarray]:
    with narrator.bar("other speech") as told:
        for done, row in enumerate(rows, 1):
            yield load(row)
            told(done, len(rows))


def _noises(
    settings: Settings, rows: Sequence[Row], rng: np.random.Generator, sources: list[dict[str, Any]]
) -> np.ndarray:
    """Made-up noises, and those of the user's, each of power 1 so that a ratio can be set."""
    made = coloured_noises(rng)
    if not rows:
        return made
    found = [mel_energies(load(row)) for row in rows]
    sources.append(_source("noises", len(rows), settings.licence))
    return np.concatenate([made, *(e / max(float(e.sum(axis=1).mean()), 1e-9) for e in found if len(e))])


def _voices(settings: Settings) -> tuple[Voices, Voices]:
    """Speakers to train on and speakers to hold out, none where espeak-ng is not installed. No family is in both."""
    try:
        found = speakers(settings.language, settings.voices)
    except MissingExtraError as error:
        if error.package != "espeakng-loader":
            raise
        return [], []
    held: set[str] = set()
    for engine in {speaker.engine for speaker in found}:
        held |= set(sorted({speaker.family for speaker in found if speaker.engine == engine})[3::6])
    return [s for s in found if s.family not in held], [s for s in found if s.family in held]


def _output(voices: tuple[Voices, Voices]) -> str:
    """Whose speech it is, in place of a licence."""
    both = [*voices[0], *voices[1]]
    piper = sorted({speaker.name.partition("#")[0] for speaker in both if speaker.engine != ESPEAK})
    return " and ".join([f"{ESPEAK}'s output", *(f"that of Piper's {name}" for name in piper)])


def _sounds(rows: Sequence[Row]) -> list[Sound]:
    return [Sound(row, load(row)) for row in rows]


def _sound(spoken: Spoken) -> Sound:
    name = f"{spoken.speaker}: {spoken.text}"
    return Sound({"id": name, "audio": name, "speaker": spoken.speaker, "text": spoken.text}, spoken.waveform)


def _source(what: str, clips: int, licence: str) -> dict[str, Any]:
    return {"what": what, "clips": clips, "licence": licence}
