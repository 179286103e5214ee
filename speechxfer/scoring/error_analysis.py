"""Error analysis: worst utterances, confusions, error rates of words, repetition loops, WER by bins, input warnings."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from speechxfer.scoring.counts import Counts
from speechxfer.scoring.garbage_collection import pause_gc
from speechxfer.scoring.groups import SNR_COLUMNS
from speechxfer.scoring.notation import find_unread_markup
from speechxfer.scoring.result import AlignedWord, Score
from speechxfer.scoring.tokens import UNIT_NAMES

MIN_WORD_OCCURRENCES = 5  # occurrences in the references from which a word has an error rate
_MAX_WORDS = 20  # words listed with their error rates
_LOOP_REPEATS = 4  # minimum number of consecutive repeats of an n-gram
_LOOP_SPAN = 8  # minimum number of words that the repeats cover
_MAX_LOOP_NGRAM = 8  # words of the longest n-gram looked for
_MIN_IDENTICAL = 10  # utterances from which identical files are not a coincidence
_WORD_BINS = (1, 3, 6, 11, 21, 41)  # lower edges; the last bin is open
_DURATION_BINS = (0, 1, 2, 4, 8, 16, 30)  # seconds
_LOWEST_SNR = -100
_SNR_BINS = (_LOWEST_SNR, 0, 5, 10, 15, 20, 30)  # dB
_ALTERNATIVES = re.compile(r"\{[^{}]*/[^{}]*\}")


@dataclass(frozen=True)
class ErrorAnalysis:
    """The utterances and words with most errors, repetition loops, and errors by bins.

    Attributes:
        worst: row numbers, most errors first.
        confusions: (reference, hypothesis, count).
        deleted: (word, count).
        inserted: (word, count).
        words: (reference word, errors, occurrences) of the words with the highest share of substituted and deleted
            occurrences, among those that occur at least `MIN_WORD_OCCURRENCES` times.
        over_100_percent: rows with more errors than reference words.
        loops: rows whose hypothesis has a repetition loop.
        counts_without_loops: counts of all other rows.
        bins: column to (label, counts) in ascending order.
    """

    worst: list[int]
    confusions: list[tuple[str, str, int]]
    deleted: list[tuple[str, int]]
    inserted: list[tuple[str, int]]
    words: list[tuple[str, int, int]]
    over_100_percent: list[int]
    loops: list[int]
    counts_without_loops: Counts
    bins: dict[str, list[tuple[str, Counts]]]

    def to_json(self, score: Score) -> dict[str, Any]:
        return {
            "worst": [score.ids[i] for i in self.worst],
            "confusions": [{"reference": r, "hypothesis": h, "count": n} for r, h, n in self.confusions],
            "deleted": dict(self.deleted),
            "inserted": dict(self.inserted),
            "words": [{"word": w, "error_rate": e / n, "errors": e, "occurrences": n} for w, e, n in self.words],
            "above_100": [score.ids[i] for i in self.over_100_percent],
            "loops": [score.ids[i] for i in self.loops],
            "wer_without_loops": self.counts_without_loops.wer,
            "bins": {
                name: [
                    {
                        "bin": label,
                        "wer": c.wer,
                        "errors": c.errors,
                        "reference_words": c.reference_words,
                        "utterances": c.utterances,
                    }
                    for label, c in bins
                ]
                for name, bins in self.bins.items()
            },
        }


def analyse_errors(score: Score, top: int = 10) -> ErrorAnalysis:
    """Analyse the errors of a score.

    Args:
        top: maximum length of the lists of words and utterances.
    """
    errors = score.words[:, 1:].sum(axis=1)
    lengths = score.words[:, :3].sum(axis=1)
    order = np.lexsort((np.arange(len(errors)), -errors / np.maximum(lengths, 1), -errors))
    tally, loops = _WordTally(), []
    wrong = np.flatnonzero(errors).tolist()
    with pause_gc():
        for i, (words, hypothesis) in zip(wrong, score.iter_errors(wrong), strict=True):
            tally.add_errors(words)
            if errors[i] >= _LOOP_REPEATS - 1 and has_repetition_loop(hypothesis):
                loops.append(i)
        tally.occurrences = _count_reference_words(score)
    rest = np.ones(len(errors), dtype=bool)
    rest[loops] = False
    return ErrorAnalysis(
        worst=[int(i) for i in order[:top] if errors[i]],
        confusions=[(r, h, n) for (r, h), n in _most_common(tally.confusions, top)],
        deleted=_most_common(tally.deleted, top),
        inserted=_most_common(tally.inserted, top),
        words=tally.rank_words(),
        over_100_percent=[int(i) for i in np.flatnonzero(errors > lengths)],
        loops=loops,
        counts_without_loops=Counts.from_arrays(score.words[rest], score.characters[rest]),
        bins=_count_by_bin(score, lengths),
    )


@dataclass
class _WordTally:
    """Counts of words by what happened to them."""

    confusions: Counter[tuple[str, str]] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)
    inserted: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    occurrences: Counter[str] = field(default_factory=Counter)

    def add_errors(self, words: Sequence[AlignedWord]) -> None:
        for operation, reference, hypothesis in words:
            if operation == "S":
                self.confusions[reference, hypothesis] += 1
            elif operation == "D":
                self.deleted[reference] += 1
            else:
                self.inserted[hypothesis] += 1
                continue
            self.errors[reference] += 1

    def rank_words(self) -> list[tuple[str, int, int]]:
        """Return (word, errors, occurrences) of the words with the highest error rates."""
        found = [(w, e, n) for w, e in self.errors.items() if (n := self.occurrences[w]) >= MIN_WORD_OCCURRENCES]
        return sorted(found, key=lambda one: (-one[1] / one[2], -one[1], one[0]))[:_MAX_WORDS]


def _count_reference_words(score: Score) -> Counter[str]:
    """Count the words of the references, without optional words of sclite's notation that the hypothesis lacks."""
    if score.options.reading is None:
        return score.options.count_reference_words(score.references)
    return Counter(
        word.reference
        for words in score.iter_alignments()
        for word in words
        if word.reference and (word.hypothesis or word.operation == "D")
    )


def has_repetition_loop(words: Sequence[str]) -> bool:
    """Return whether an n-gram (n up to 8) is repeated at least four times in a row, over eight words or more."""
    if (
        len(words) < _LOOP_SPAN or len(words) - len(set(words)) < _LOOP_SPAN - 2
    ):  # a loop repeats at least six words: two words, four times
        return False
    for n in range(1, _MAX_LOOP_NGRAM + 1):
        run = 0
        for i in range(n, len(words)):
            run = run + 1 if words[i] == words[i - n] else 0
            if run + n >= max(_LOOP_SPAN, _LOOP_REPEATS * n):
                return True
    return False


def find_input_warnings(score: Score) -> list[str]:
    """Return warnings about inputs that can be scored but are probably mistaken.

    These are swapped sides, the same texts on both sides, and texts in sclite's notation scored as plain words.
    """
    found = []
    if are_sides_swapped(score):
        found.append("the references look like recogniser output: check that the two files are not swapped")
    if len(score.ids) >= _MIN_IDENTICAL and score.references == score.hypotheses:
        found.append("all hypotheses are identical to their references: check that the right files were given")
    if score.options.reading is None:
        texts = zip(score.ids, score.references, strict=True)
        marked = [i for i, text in texts if "{" in text and _ALTERNATIVES.search(text)]
        if marked:
            found.append(
                f"{len(marked)} references contain alternatives {{ a / b }}, and all their words are counted "
                f"({marked[0]}): use --notation to score them as sclite does"
            )
        for markup, ids in find_unread_markup(score.hypotheses, score.ids):
            some = "1 hypothesis contains" if len(ids) == 1 else f"{len(ids):,} hypotheses contain"
            found.append(f"{some} {markup} as plain words ({ids[0]}): use --notation to read them as sclite does")
    return found


def are_sides_swapped(score: Score) -> bool:
    """Return whether references and hypotheses are probably swapped: only the references are often empty or loop."""

    def is_suspicious(text: str) -> bool:
        is_long = text.count(" ") >= _LOOP_SPAN - 1  # most texts are short, and are not split
        return not text.strip() or (is_long and has_repetition_loop(text.split()))

    pairs = zip(score.references, score.hypotheses, strict=True)
    more = sum(is_suspicious(left) - is_suspicious(right) for left, right in pairs if left != right)
    return more > max(1, 0.02 * len(score.ids))


def _most_common(counter: Counter[Any], top: int) -> list[tuple[Any, int]]:
    return heapq.nsmallest(top, counter.items(), key=lambda item: (-item[1], item[0]))


def _count_by_bin(score: Score, lengths: np.ndarray) -> dict[str, list[tuple[str, Counts]]]:
    values: dict[str, tuple[np.ndarray, tuple[int, ...]]] = {"words": (lengths.astype(float), _WORD_BINS)}
    column_bins: dict[str, tuple[int, ...]] = {"duration": _DURATION_BINS, **dict.fromkeys(SNR_COLUMNS, _SNR_BINS)}
    for name, edges in column_bins.items():
        if name in score.columns and (numbers := _to_numbers(score.columns[name])) is not None:
            values[name] = (numbers, edges)
    found = {}
    for name, (numbers, edges) in values.items():
        bins = []
        for low, high in zip(edges, [*edges[1:], float("inf")], strict=True):
            rows = (numbers >= low) & (numbers < high)
            if rows.any():
                label = _format_bin(name, low, high, score.options.unit)
                bins.append((label, Counts.from_arrays(score.words[rows], score.characters[rows])))
        if len(bins) > 1:
            found[name] = bins
    return found


def _format_bin(name: str, low: float, high: float, counted: str) -> str:
    unit = {"words": f"{UNIT_NAMES[counted]}s", "duration": "s"}.get(name, "dB")
    if high == float("inf"):
        return f"{low:g} {unit} and more"
    if low == _LOWEST_SNR:
        return f"below {high:g} {unit}"
    return f"{low:g} to {high - 1 if name == 'words' else high:g} {unit}"


def _to_numbers(values: Sequence[str]) -> np.ndarray | None:
    """Convert to floats, NaN for empty values; None if a value is not a number."""
    try:
        return np.array([float(v) if v else np.nan for v in values])
    except ValueError:
        return None
