"""The audit behind `speechxfer check`: each utterance is decoded once, in threads; only measurements are kept."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import datasets

from speechxfer.data.audio import measure_audio
from speechxfer.data.labels import describe_imbalance, describe_near_equal_labels, find_label_column
from speechxfer.data.parallel import RowsDoneCallback, map_rows
from speechxfer.data.splits import normalise_split_name
from speechxfer.data.validation import SILENT_PROBLEM, InputLimits, InvalidRow, check_utterance, count_min_ctc_frames
from speechxfer.errors import UserError
from speechxfer.text.normalise import get_normaliser

MAX_CLIPPED_SHARE = 0.001  # share of samples at full scale
RATE_OUTLIER_DEVIATIONS = 5.0  # robust standard deviations of log characters per second
CTC_FRAME_RATE = 50.0  # Hz; of the wav2vec2 family and Whisper
MAX_ROWS_NAMED = 10  # in a warning


@dataclass(frozen=True, slots=True)
class UtteranceMeasurements:
    """Measurements of one utterance. seconds: 0 if unreadable; clipped: share of samples; content: their digest."""

    seconds: float = 0.0
    clipped: float = 0.0
    content: bytes = b""
    problem: tuple[str, str] | None = None


@dataclass
class AuditResult:
    """Result of an audit. errors: rows that cannot be used; usable: indices of the other rows.

    speakers, accents, labels: utterances and hours per value. label_column: that the labels were read from.
    """

    rows: int
    hours: float
    errors: list[InvalidRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    usable: list[int] = field(default_factory=list)
    speakers: dict[str, dict[str, float]] = field(default_factory=dict)
    accents: dict[str, dict[str, float]] = field(default_factory=dict)
    labels: dict[str, dict[str, float]] = field(default_factory=dict)
    label_column: str | None = None


def audit_dataset(
    dataset: datasets.Dataset, limits: InputLimits | None = None, progress: RowsDoneCallback | None = None
) -> AuditResult:
    """Audit all rows: decode the audio, check text (or label) against `limits`, and compare the rows.

    Damaged audio is an error, and so is silent audio, but for rows that have labels only. Memory: the audio of a few
    rows, and under a kilobyte per row of measurements.
    """
    limits = limits or InputLimits()
    named = [name for name in ("text", "label") if name in dataset.column_names]
    text = next((name for name in named if any(dataset[name])), named[0] if named else None)
    columns = ["id", "audio", "path", "bytes", "start", "end"]
    measured = list(map_rows(dataset, columns, measure_utterance, progress))
    if text == "label":  # silence may be a class, and training accepts it
        measured = [replace(one, problem=None) if one.problem == SILENT_PROBLEM else one for one in measured]
    texts = _get_column(dataset, text)
    ids = list(dataset["id"])
    result = AuditResult(len(dataset), sum(one.seconds for one in measured) / 3600)
    for index, (name, one, words) in enumerate(zip(ids, measured, texts, strict=True)):
        problems = [one.problem] if one.problem else []
        problem = check_utterance(
            one.seconds if not one.problem else math.inf, words, _keep_text_limits(limits) if one.problem else limits
        )
        problems += [problem] if problem else []
        result.errors += [InvalidRow(index, name, *one_problem) for one_problem in problems]
        if not problems:
            result.usable.append(index)
    _warn(result, dataset, measured, texts, text, limits)
    result.speakers = _sum_by_value(_get_column(dataset, "speaker"), measured)
    result.accents = _sum_by_value(_get_column(dataset, "accent"), measured)
    result.label_column = find_label_column(dataset)
    labels = _get_column(dataset, result.label_column)
    result.labels = _sum_by_value(labels, measured)
    splits = _get_column(dataset, "split")
    trained = [label for label, split in zip(labels, splits, strict=True) if _is_trained(split)]
    imbalance = describe_imbalance(Counter(filter(None, trained)))
    result.warnings += [*describe_near_equal_labels(filter(None, labels)), *imbalance]
    return result


def measure_utterance(row: dict[str, Any]) -> UtteranceMeasurements:
    """Decode a row's utterance: duration, clipping, and a digest of the samples, or a problem."""
    try:
        measured = measure_audio(row)
    except UserError as error:
        return UtteranceMeasurements(problem=(error.problem, error.fix or ""))
    if measured.is_silent:
        return UtteranceMeasurements(measured.seconds, problem=SILENT_PROBLEM)
    return UtteranceMeasurements(measured.seconds, measured.clipped, measured.content)


def _keep_text_limits(limits: InputLimits) -> InputLimits:
    return InputLimits(max_tokens=limits.max_tokens, count_tokens=limits.count_tokens)


def _get_column(dataset: datasets.Dataset, name: str | None) -> list[str] | list[None]:
    if name is None or name not in dataset.column_names:
        return [None] * len(dataset)
    return [str(value if value is not None else "") for value in dataset[name]]


def _is_trained(split: str | None) -> bool:
    """Whether rows of a split, or without one, may be trained on."""
    return not split or normalise_split_name(split) not in ("dev", "test")


def _warn(
    result: AuditResult,
    dataset: datasets.Dataset,
    measured: Sequence[UtteranceMeasurements],
    texts: Sequence[str | None],
    text: str | None,
    limits: InputLimits,
) -> None:
    add = result.warnings.append
    if text is None:
        add("there is no column 'text': only the audio was checked; training and scoring need texts")
    if "speaker" not in dataset.column_names:
        add("there is no column 'speaker': train and test may share speakers, and results may look too good")
    clipped = [row for row, one in enumerate(measured) if one.clipped > MAX_CLIPPED_SHARE]
    if clipped:
        share = f"over {MAX_CLIPPED_SHARE:.1%} of samples at full scale"
        add(f"{_rows(clipped)} clipped ({share}): record at a lower level")
    _warn_of_copies(add, dataset, measured, texts)
    if text == "text":
        _warn_of_texts(add, measured, texts, limits)
    splits = _get_column(dataset, "split")
    unknown = [row for row, split in enumerate(splits) if split and normalise_split_name(split) is None]
    if unknown:
        names = ", ".join(sorted({str(splits[row]) for row in unknown})[:5])
        add(f"{_rows(unknown)} of split {names}, which is neither train, dev nor test: adapt ignores them")
    for name, values in (("speaker", _get_column(dataset, "speaker")), ("sentence", texts if text == "text" else [])):
        _warn_of_shared(add, name, values, splits)


def _warn_of_copies(
    add: Any, dataset: datasets.Dataset, measured: Sequence[UtteranceMeasurements], texts: Sequence[str | None]
) -> None:
    same: dict[bytes, list[int]] = defaultdict(list)
    for row, one in enumerate(measured):
        if one.content:
            same[one.content].append(row)
    copies = [rows for rows in same.values() if len(rows) > 1]
    if not copies:
        return
    add(f"the same audio is in several rows ({_groups(copies)}): keep one of each")
    splits = _get_column(dataset, "split")
    across = [rows for rows in copies if len({splits[row] for row in rows}) > 1]
    if across:
        add(f"the same audio is in several splits ({_groups(across)}): the test is not held out")
    otherwise = [rows for rows in copies if len({texts[row] for row in rows}) > 1]
    if otherwise:
        add(f"the same audio has different texts ({_groups(otherwise)}): all but one are wrong")


def _warn_of_texts(
    add: Any, measured: Sequence[UtteranceMeasurements], texts: Sequence[str | None], limits: InputLimits
) -> None:
    spoken = [
        (row, one.seconds, " ".join((words or "").split()))
        for row, (one, words) in enumerate(zip(measured, texts, strict=True))
    ]
    spoken = [(row, length, words) for row, length, words in spoken if words and length]
    normalise = get_normaliser("default")
    wordless = [row for row, _, words in spoken if not normalise(words).strip()]
    if wordless:
        add(f"{_rows(wordless)} without a word in the text: such texts are neither scored nor learnt by a CTC head")
    if limits.characters is not None:
        _warn_of_characters(add, spoken, limits)
    if limits.frames_per_second is None:
        short = [row for row, length, words in spoken if length * CTC_FRAME_RATE < count_min_ctc_frames(words)]
        if short:
            add(f"{_rows(short)} too short for the text under CTC ({CTC_FRAME_RATE:g} Hz): check the text and the span")
    rates = [math.log(len(words) / length) for _, length, words in spoken]
    if len(rates) < 20:  # too few to estimate the spread
        return
    median = statistics.median(rates)
    spread = max(1.4826 * statistics.median(abs(rate - median) for rate in rates), 0.05)
    outliers = [
        row
        for (row, *_), rate in zip(spoken, rates, strict=True)
        if abs(rate - median) > RATE_OUTLIER_DEVIATIONS * spread
    ]
    if outliers:
        typical = f"typical: {math.exp(median):.1f} characters per second"
        rows = _rows(outliers, "has", "have")
        add(f"{rows} an unusual speaking rate ({typical}): text and audio may not match")


def _warn_of_characters(add: Any, spoken: Iterable[tuple[int, float, str]], limits: InputLimits) -> None:
    known = limits.characters or set()
    missing: Counter[str] = Counter()
    rows, wrong_case = [], []
    for row, _, words in spoken:
        unknown = {letter for letter in words if letter not in known and not letter.isspace()}
        other_case = {letter for letter in unknown if letter.swapcase() in known}
        if other_case:
            wrong_case.append(row)
        if unknown - other_case:
            missing.update(unknown - other_case)
            rows.append(row)
    if wrong_case:
        letters = f"{limits.case} case" if limits.case else "letters"
        add(f"{_rows(wrong_case)} written in another case than the model's {letters}: change the text's case")
    if rows:
        often = sorted(missing, key=lambda letter: (-missing[letter], letter))  # sets have no order
        letters = " ".join(repr(letter) for letter in often[:20]) + (" …" if len(often) > 20 else "")
        add(f"{_rows(rows)} written with characters that the model lacks ({letters}): spell them out or remove them")


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
        "speaker": "the results of new speakers may be worse; set data.split=ignore to split by speaker",
        "sentence": "the model is trained on sentences of the test; hold some sentences out",
    }[name]
    names = ", ".join(sorted(shared[example]))
    add(f"{len(shared)} of {len(where)} {name}s are in several splits (e.g. '{example[:60]}' in {names}): {advice}")


def _rows(rows: Sequence[int], singular: str = "is", plural: str = "are") -> str:
    return f"row {rows[0] + 1} {singular}" if len(rows) == 1 else f"{len(rows)} rows ({_numbers(rows)}) {plural}"


def _groups(copies: Sequence[Sequence[int]]) -> str:
    shown = "; ".join(_numbers(rows, 4) for rows in copies[:5])
    return f"rows {shown}; … {len(copies)} recordings in all" if len(copies) > 5 else f"rows {shown}"


def _numbers(rows: Sequence[int], shown: int = MAX_ROWS_NAMED) -> str:
    return ", ".join(str(row + 1) for row in rows[:shown]) + (", …" if len(rows) > shown else "")


def _sum_by_value(
    values: Sequence[str | None], measured: Sequence[UtteranceMeasurements]
) -> dict[str, dict[str, float]]:
    """Sum utterances and hours by value, most hours first; empty if there is no such column."""
    totals: dict[str, dict[str, float]] = {}
    for value, one in zip(values, measured, strict=True):
        if value is None:
            continue
        total = totals.setdefault(value or "(none)", {"utterances": 0, "hours": 0.0})
        total["utterances"] += 1
        total["hours"] += one.seconds / 3600
    return dict(sorted(totals.items(), key=lambda item: -item[1]["hours"]))
