"""Finds the rows that training and evaluation cannot use, before any work: audio is decoded, texts are tokenized."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import datasets

from speechxfer.data.audio import measure_audio
from speechxfer.data.parallel import RowsDoneCallback, map_rows
from speechxfer.errors import UserError

_MAX_TOKEN_CHARACTERS = 100  # characters of the longest tokens
SILENT_PROBLEM = ("is silent", "check for a muted microphone or a wrong 'start' and 'end'")  # problem, fix


@dataclass(frozen=True)
class InputLimits:
    """Input limits of a model; None is no limit.

    max_seconds: maximum duration (Whisper: 30). whole_seconds: longer audio is cut by inference; it and its text may
    have any length. max_tokens: maximum length of a text, counted by `count_tokens`.
    characters: those of a CTC vocabulary; case: of its letters. frames_per_second: of CTC emissions.
    target_normaliser: applied to a text before it becomes a target. pad_silence: seconds of silence before and after
    each utterance.
    """

    max_seconds: float | None = None
    max_tokens: int | None = None
    count_tokens: Callable[[str], int] | None = None
    characters: set[str] | None = None
    case: Literal["upper", "lower", "mixed"] | None = None
    frames_per_second: float | None = None
    target_normaliser: Callable[[str], str] | None = None
    pad_silence: float = 0.0
    whole_seconds: float | None = None

    def is_cut(self, seconds: float) -> bool:
        """Return whether inference cuts audio of this length."""
        return self.whole_seconds is not None and seconds > self.whole_seconds


@dataclass(frozen=True)
class InvalidRow:
    """A row that cannot be used. index: 0-based in the checked data set, which may be a split of a table."""

    index: int
    id: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.id}: {self.problem}"


def find_invalid_rows(
    dataset: datasets.Dataset,
    *,
    text: str | None = "text",
    limits: InputLimits | None = None,
    progress: RowsDoneCallback | None = None,
) -> list[InvalidRow]:
    """Find the rows whose audio is missing, unreadable, silent or too long, or whose text is empty or does not fit.

    All audio is decoded: damage that the header does not show would abort training in the first epoch.
    Silent audio is accepted with a label, but not with a text, which would train the model to hallucinate.

    text: the column that training reads (`text` or `label`), or None.
    """
    limits = limits or InputLimits()

    def measure(row: dict[str, Any]) -> float | UserError:
        try:
            measured = measure_audio(row)
        except UserError as error:
            return error
        is_speech = text != "label" and not limits.is_cut(measured.seconds)
        problem, fix = SILENT_PROBLEM
        return UserError(problem, fix=fix) if is_speech and measured.is_silent else measured.seconds

    durations = map_rows(dataset, ["id", "audio", "path", "bytes", "start", "end"], measure, progress)
    texts = [None] * len(dataset) if text is None else [str(words or "") for words in dataset[text]]
    invalid = []
    for index, (name, words, duration) in enumerate(zip(dataset["id"], texts, durations, strict=True)):
        if isinstance(duration, UserError):
            invalid.append(InvalidRow(index, name, duration.problem, duration.fix or ""))
            continue
        problem = check_utterance(duration, words, limits)  # not in a thread: tokenizers are not thread-safe
        if problem:
            invalid.append(InvalidRow(index, name, *problem))
    return invalid


def check_utterance(length: float, text: str | None, limits: InputLimits) -> tuple[str, str] | None:
    """Return (problem, fix) if `length` seconds of readable audio with `text` violate `limits`."""
    is_cut = limits.is_cut(length)
    if limits.max_seconds is not None and length > limits.max_seconds and not is_cut:
        return f"lasts {length:.1f} s; the model takes {limits.max_seconds:g} s", "cut it with 'start' and 'end'"
    if text is None:
        return None
    if not text.strip():
        return "its text is empty", "write the transcript, or leave the row out"
    if is_cut:
        return None
    text = text if limits.target_normaliser is None else limits.target_normaliser(text)
    if limits.max_tokens is not None and limits.count_tokens is not None:
        if len(text) > _MAX_TOKEN_CHARACTERS * limits.max_tokens:  # counting the tokens of a book takes minutes
            return (
                f"its text is {len(text):,} characters; the model takes {limits.max_tokens} tokens",
                "cut the utterance",
            )
        tokens = limits.count_tokens(text)
        if tokens > limits.max_tokens:
            return f"its text is {tokens} tokens; the model takes {limits.max_tokens}", "cut the utterance"
    if limits.frames_per_second is not None:
        frames, needed = int((length + 2 * limits.pad_silence) * limits.frames_per_second), count_min_ctc_frames(text)
        if frames < needed:
            problem = f"is too short for its text: {frames} frames, CTC needs {needed}"
            return problem, "check the text, and 'start' and 'end'"
    return None


def count_min_ctc_frames(text: str) -> int:
    """Return the minimum number of CTC frames for `text`: one per character, plus a blank between equal neighbours.

    Graves et al. 2006.
    """
    text = " ".join(text.split())
    return len(text) + sum(a == b for a, b in itertools.pairwise(text))
