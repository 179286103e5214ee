"""The audit behind `speechxfer check`: every utterance decoded once, in threads, and only its measures kept."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import numpy as np

from speechxfer.data.audio import decode_channels, get_audio_source, is_silent, name_row_in_error
from speechxfer.data.parallel import RowProgress, map_rows
from speechxfer.data.splits import normalise_split_name
from speechxfer.data.validation import SILENT_PROBLEM, InputLimits, InvalidRow, check_utterance, count_min_ctc_frames
from speechxfer.errors import UserError
from speechxfer.text.normalise import get_normaliser

MAX_CLIPPED_SHARE = 0.001  # share of samples at full scale
FULL_SCALE_LEVEL = 0.999
RATE_OUTLIER_DEVIATIONS = 5.0  # robust standard deviations of log characters a second
CTC_FRAME_RATE = 50.0  # frames a second of wav2vec2's family and Whisper
MAX_ROWS_NAMED = 10  # rows named in a warning


@dataclass(frozen=True, slots=True)
class UtteranceMeasurements:
    """What is kept of one utterance. seconds: 0 where unreadable; content: a digest of its samples."""

    seconds: float = 0.0
    clipped: float = 0.0
    content: bytes = b""
    problem: tuple[str, str] | None = None


@dataclass
class AuditResult:
    """errors: rows that cannot be used; warnings: what to look at; usable: indices of the other rows."""

    rows: int
    hours: float
    errors: list[InvalidRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    usable: list[int] = field(default_factory=list)
    speakers: dict[str, dict[str, float]] = field(default_factory=dict)
    accents: dict[str, dict[str, float]] = field(default_factory=dict)


def audit_dataset(
    dataset: datasets.Dataset, limits: InputLimits | None = None, progress: RowProgress | None = None
) -> AuditResult:
    """Audit every row: its audio decoded, its text (or label) against `limits`, the rows against each other.

    Memory: a few rows' audio at a time, and under a kilobyte a row of what is kept. Damage and silence are errors here.
    """
    limits = limits or InputLimits()
    named = [name for name in ("text", "label") if name in dataset.column_names]
    text = next((name for name in named if any(dataset[name])), named[0] if named else None)
    columns = ["id", "audio", "path", "bytes", "start", "end"]
    measures = list(map_rows(dataset, columns, measure_utterance, progress))
    texts = _column(dataset, text)
    ids = list(dataset["id"])
    result = AuditResult(len(dataset), sum(one.seconds for one in measures) / 3600)
    seen: dict[str, int] = {}
    for index, (name, one, words) in enumerate(zip(ids, measures, texts, strict=True)):
        found = [one.problem] if one.problem else []
        misfit = check_utterance(
            one.seconds if not one.problem else math.inf, words, _text_only(limits) if one.problem else limits
        )
        found += [misfit] if misfit else []
        if name in seen:
            found.append((f"its id stands in row {seen[name] + 1} too", "give each utterance its own id, audio or cut"))
        seen.setdefault(name, index)
        result.errors += [InvalidRow(index, name, *what) for what in found]
        if not found:
            result.usable.append(index)
    _warn(result, dataset, measures, texts, text, limits)
    result.speakers = _totals(_column(dataset, "speaker"), measures)
    result.accents = _totals(_column(dataset, "accent"), measures)
    return result


def measure_utterance(row: dict[str, Any]) -> UtteranceMeasurements:
    """Decode a row's utterance and measure it."""
    try:
        samples, rate = decode_channels(get_audio_source(row), row.get("start"), row.get("end"))
    except UserError as error:
        error = name_row_in_error(error, row)
        return UtteranceMeasurements(problem=(error.problem, error.fix or ""))
    length = len(samples) / rate
    if is_silent(samples):
        return UtteranceMeasurements(length, problem=SILENT_PROBLEM)
    content = hashlib.blake2b(np.ascontiguousarray(samples).data, digest_size=16).digest()
    return UtteranceMeasurements(length, float((np.abs(samples) >= FULL_SCALE_LEVEL).mean()), content)


def _text_only(limits: InputLimits) -> InputLimits:
    return InputLimits(max_tokens=limits.max_tokens, count_tokens=limits.count_tokens)


def _column(dataset: datasets.Dataset, name: str | None) -> list[str] | list[None]:
    if name is None or name not in dataset.column_names:
        return [None] * len(dataset)
    return [str(value if value is not None else "") for value in dataset[name]]


def _warn(
    result: AuditResult,
    dataset: datasets.Dataset,
    measures: Sequence[UtteranceMeasurements],
    texts: Sequence[str | None],
    text: str | None,
    limits: InputLimits,
) -> None:
    add = result.warnings.append
    if text is None:
        add("there is no column 'text': only the audio was checked, and nothing can be trained or scored")
    if "speaker" not in dataset.column_names:
        add("there is no column 'speaker': parts cannot be kept apart by speaker, and a WER may look better than it is")
    clipped = [row for row, one in enumerate(measures) if one.clipped > MAX_CLIPPED_SHARE]
    if clipped:
        add(
            f"{_rows(clipped)} clipped (over {MAX_CLIPPED_SHARE:.1%} of samples at full scale): record them at a lower level"
        )
    _warn_of_copies(add, dataset, measures, texts)
    if text == "text":
        _warn_of_texts(add, measures, texts, limits)
    splits = _column(dataset, "split")
    unknown = [row for row, split in enumerate(splits) if split and normalise_split_name(split) is None]
    if unknown:
        names = ", ".join(sorted({str(splits[row]) for row in unknown})[:5])
        add(f"{_rows(unknown)} of split {names}, which is neither train, dev nor test: adapt puts them in no part")
    for name, values in (("speaker", _column(dataset, "speaker")), ("sentence", texts if text == "text" else [])):
        _warn_of_shared(add, name, values, splits)


def _warn_of_copies(
    add: Any, dataset: datasets.Dataset, measures: Sequence[UtteranceMeasurements], texts: Sequence[str | None]
) -> None:
    same: dict[bytes, list[int]] = defaultdict(list)
    for row, one in enumerate(measures):
        if one.content:
            same[one.content].append(row)
    copies = [rows for rows in same.values() if len(rows) > 1]
    if not copies:
        return
    add(f"the same audio stands in several rows ({_groups(copies)}): keep one of each")
    splits = _column(dataset, "split")
    across = [rows for rows in copies if len({splits[row] for row in rows}) > 1]
    if across:
        add(f"the same audio stands in several splits ({_groups(across)}): the test is not held out")
    otherwise = [rows for rows in copies if len({texts[row] for row in rows}) > 1]
    if otherwise:
        add(f"the same audio has different texts ({_groups(otherwise)}): all but one are wrong")


def _warn_of_texts(
    add: Any, measures: Sequence[UtteranceMeasurements], texts: Sequence[str | None], limits: InputLimits
) -> None:
    spoken = [
        (row, one.seconds, " ".join((words or "").split()))
        for row, (one, words) in enumerate(zip(measures, texts, strict=True))
    ]
    spoken = [(row, length, words) for row, length, words in spoken if words and length]
    normalise = get_normaliser("default")
    wordless = [row for row, _, words in spoken if not normalise(words).strip()]
    if wordless:
        add(f"{_rows(wordless)} without a word in the text: nothing of it is scored, no CTC head learns from it")
    if limits.characters is not None:
        _warn_of_characters(add, spoken, limits)
    if limits.frames_per_second is None:
        short = [row for row, length, words in spoken if length * CTC_FRAME_RATE < count_min_ctc_frames(words)]
        if short:
            add(
                f"{_rows(short)} too short for the text under CTC ({CTC_FRAME_RATE:g} frames a second): check text and cut"
            )
    rates = [math.log(len(words) / length) for _, length, words in spoken]
    if len(rates) < 20:  # too few for a spread
        return
    middle = statistics.median(rates)
    spread = max(1.4826 * statistics.median(abs(rate - middle) for rate in rates), 0.05)
    far = [
        row
        for (row, *_), rate in zip(spoken, rates, strict=True)
        if abs(rate - middle) > RATE_OUTLIER_DEVIATIONS * spread
    ]
    if far:
        usual = f"{math.exp(middle):.1f} characters a second are usual"
        add(f"{_rows(far)} spoken oddly fast or slowly for the text ({usual}): do text and audio belong together?")


def _warn_of_characters(add: Any, spoken: Iterable[tuple[int, float, str]], limits: InputLimits) -> None:
    known = limits.characters or set()
    lacking: Counter[str] = Counter()
    rows, wrong_case = [], []
    for row, _, words in spoken:
        unknown = {letter for letter in words if letter not in known and not letter.isspace()}
        other_case = {letter for letter in unknown if letter.swapcase() in known}
        if other_case:
            wrong_case.append(row)
        if unknown - other_case:
            lacking.update(unknown - other_case)
            rows.append(row)
    if wrong_case:
        letters = f"{limits.case} case" if limits.case else "letters"
        add(f"{_rows(wrong_case)} written in another case than the model's {letters}: change the text's case")
    if rows:
        often = sorted(lacking, key=lambda letter: (-lacking[letter], letter))  # sets come in no order
        letters = " ".join(repr(letter) for letter in often[:20]) + (" …" if len(often) > 20 else "")
        add(f"{_rows(rows)} written with characters that the model lacks ({letters}): spell them out or take them out")


def _warn_of_shared(add: Any, name: str, values: Sequence[str | None], splits: Sequence[str | None]) -> None:
    where: dict[str, set[str]] = defaultdict(set)
    for value, split in zip(values, splits, strict=False):
        if value and split:
            where[" ".join(value.casefold().split())].add(split)
    shared = {value: found for value, found in where.items() if len(found) > 1}
    if not shared:
        return
    example = min(shared)
    advice = {
        "speaker": "the WER of new speakers may be worse; data.split=ignore parts them by speaker",
        "sentence": "the model hears the test's sentences in training; hold some sentences out",
    }[name]
    splits_of = ", ".join(sorted(shared[example]))
    add(
        f"{len(shared)} of {len(where)} {name}s stand in several splits (say '{example[:60]}' in {splits_of}): {advice}"
    )


def _rows(rows: Sequence[int]) -> str:
    return f"row {rows[0] + 1} is" if len(rows) == 1 else f"{len(rows)} rows ({_numbers(rows)}) are"


def _groups(copies: Sequence[Sequence[int]]) -> str:
    shown = "; ".join(_numbers(rows, 4) for rows in copies[:5])
    return f"rows {shown}; … {len(copies)} recordings in all" if len(copies) > 5 else f"rows {shown}"


def _numbers(rows: Sequence[int], shown: int = MAX_ROWS_NAMED) -> str:
    return ", ".join(str(row + 1) for row in rows[:shown]) + (", …" if len(rows) > shown else "")


def _totals(values: Sequence[str | None], measures: Sequence[UtteranceMeasurements]) -> dict[str, dict[str, float]]:
    """Utterances and hours by value, the most hours first; nothing where the column is not there."""
    totals: dict[str, dict[str, float]] = {}
    for value, one in zip(values, measures, strict=True):
        if value is None:
            continue
        total = totals.setdefault(value or "(none)", {"utterances": 0, "hours": 0.0})
        total["utterances"] += 1
        total["hours"] += one.seconds / 3600
    return dict(sorted(totals.items(), key=lambda item: -item[1]["hours"]))
