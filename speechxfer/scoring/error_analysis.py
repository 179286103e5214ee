"""What went wrong: worst utterances, confusions, repetition loops, what each normalising rule removed, WER by bins."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechxfer.scoring.counts import Counts
from speechxfer.scoring.groups import SNR_COLUMNS
from speechxfer.scoring.result import AlignedWord, Score, ScoringOptions
from speechxfer.scoring.scorer import count_errors
from speechxfer.scoring.tokens import UNIT_NAMES
from speechxfer.text.normalise import Normaliser, get_normaliser

_NONE = get_normaliser("none")
_LOOP_REPEATS = 4  # of one n-gram, one after the other
_LOOP_SPAN = 8  # words that the repeats cover at least
_SAME = 10  # utterances from which equality to the letter is no chance
_ALTERNATIVES = re.compile(r"\{[^{}]*\s/\s[^{}]*\}")


@dataclass(frozen=True)
class ErrorAnalysis:
    """worst: rows of the score, most errors first. above: rows with more errors than reference words.
    loops: rows whose hypothesis repeats itself; counts_without_loops: the counts of all other rows.
    bins: column to (label, counts) in order.
    """

    worst: list[int]
    confusions: list[tuple[str, str, int]]
    deleted: list[tuple[str, int]]
    inserted: list[tuple[str, int]]
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
                    for label, c in found
                ]
                for name, found in self.bins.items()
            },
        }


def analyse_errors(score: Score, alignments: Sequence[Sequence[AlignedWord]], top: int = 10) -> ErrorAnalysis:
    """Look through a score. alignments: `score.alignments()`, made once by the caller."""
    errors = score.words[:, 1:].sum(axis=1)
    lengths = score.words[:, :3].sum(axis=1)
    order = np.lexsort((np.arange(len(errors)), -errors / np.maximum(lengths, 1), -errors))
    confusions: Counter[tuple[str, str]] = Counter()
    deleted: Counter[str] = Counter()
    inserted: Counter[str] = Counter()
    loops = []
    for i, words in enumerate(alignments):
        for operation, reference, hypothesis in words:
            if operation == "S":
                confusions[reference, hypothesis] += 1
            elif operation == "D":
                deleted[reference] += 1
            elif operation == "I":
                inserted[hypothesis] += 1
        if errors[i] >= _LOOP_REPEATS - 1 and has_repetition_loop([w.hypothesis for w in words if w.hypothesis]):
            loops.append(i)
    rest = np.ones(len(errors), dtype=bool)
    rest[loops] = False
    return ErrorAnalysis(
        worst=[int(i) for i in order[:top] if errors[i]],
        confusions=[(r, h, n) for (r, h), n in _most(confusions, top)],
        deleted=_most(deleted, top),
        inserted=_most(inserted, top),
        over_100_percent=[int(i) for i in np.flatnonzero(errors > lengths)],
        loops=loops,
        counts_without_loops=Counts.from_arrays(score.words[rest], score.characters[rest]),
        bins=_bins(score, lengths),
    )


def has_repetition_loop(words: Sequence[str]) -> bool:
    """Whether an n-gram (n up to 8) stands at least four times in a row, over eight words or more."""
    if len(words) - len(set(words)) < _LOOP_SPAN - 2:  # the least that 4 times two words repeat
        return False
    for n in range(1, 9):
        run = 0
        for i in range(n, len(words)):
            run = run + 1 if words[i] == words[i - n] else 0
            if run + n >= max(_LOOP_SPAN, _LOOP_REPEATS * n):
                return True
    return False


def count_by_rule(score: Score) -> list[tuple[str, Counts]]:
    """The counts of the texts as written, then after the first of the normaliser's rules, and so on to the last.

    Of a normaliser without rules (none, or a function): as written, and as scored.
    """
    normaliser, n = score.options.normaliser, len(score.ids)
    rules = normaliser.rules if isinstance(normaliser, Normaliser) else ()
    words, characters = count_errors(score.references, score.hypotheses, score.ids, _with(score.options, _NONE))
    found = [("as written", Counts.from_arrays(words, characters))]
    before = [*score.references, *score.hypotheses]
    for k, rule in enumerate(rules[:-1], start=1):
        normalise = normaliser.take_first(k)  # type: ignore[attr-defined]
        after = [normalise(text) for text in (*score.references, *score.hypotheses)]
        changed = range(n) if score.options.notation else _differing(before, after, n)
        left, right, ids = ([side[i] for i in changed] for side in (score.references, score.hypotheses, score.ids))
        rows = np.array(changed, dtype=np.int64)
        words[rows], characters[rows] = count_errors(left, right, ids, _with(score.options, normalise))
        found.append((rule.name, Counts.from_arrays(words, characters)))
        before = after
    last = rules[-1].name if rules else score.options.normaliser_name
    return [*found, (last, score.counts)] if last != "none" else found


def _differing(before: Sequence[str], after: Sequence[str], n: int) -> list[int]:
    """Utterances with a side that a rule changed; the first n texts are references, the rest hypotheses."""
    return [i for i in range(n) if before[i] != after[i] or before[n + i] != after[n + i]]


def find_input_warnings(score: Score) -> list[str]:
    """What looks like a mistake in the files given, though it can be scored: sides swapped, one text on both sides,
    references in sclite's notation that are read as words."""
    found = []
    if are_sides_swapped(score):
        found.append("the references look like a recogniser's output: are the two files swapped?")
    if len(score.ids) >= _SAME and score.references == score.hypotheses:
        found.append("every hypothesis is its reference to the letter: do the files hold the same texts?")
    if not score.options.notation:
        marked = [i for i, text in zip(score.ids, score.references, strict=True) if _ALTERNATIVES.search(text)]
        if marked:
            found.append(
                f"{len(marked)} references hold alternatives, {{ a / b }}, whose words are all counted ({marked[0]}): "
                "--notation reads them as sclite does"
            )
    return found


def are_sides_swapped(score: Score) -> bool:
    """Whether the reference is likelier to be the recogniser's: it loops, or is often empty, and the other is not."""

    def doubtful(texts: Sequence[str]) -> int:
        return sum(not text.strip() or has_repetition_loop(text.split()) for text in texts)

    left, right = doubtful(score.references), doubtful(score.hypotheses)
    return left > right + max(1, 0.02 * len(score.ids))


def _with(options: ScoringOptions, normaliser: Normaliser) -> ScoringOptions:
    return ScoringOptions(normaliser, options.align, options.unit, options.notation, options.compounds, options.seed)


def _most(counter: Counter[Any], top: int) -> list[tuple[Any, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:top]


def _bins(score: Score, lengths: np.ndarray) -> dict[str, list[tuple[str, Counts]]]:
    values = {"words": (lengths.astype(float), [1, 3, 6, 11, 21, 41])}
    for name, edges in {
        "duration": [0, 1, 2, 4, 8, 16, 30],
        **{key: [-100, 0, 5, 10, 15, 20, 30] for key in SNR_COLUMNS},
    }.items():
        if name in score.columns and (numbers := _numbers(score.columns[name])) is not None:
            values[name] = (numbers, edges)
    found = {}
    for name, (numbers, edges) in values.items():
        parts = []
        for low, high in zip(edges, [*edges[1:], float("inf")], strict=True):
            rows = (numbers >= low) & (numbers < high)
            if rows.any():
                parts.append(
                    (
                        _label(name, low, high, score.options.unit),
                        Counts.from_arrays(score.words[rows], score.characters[rows]),
                    )
                )
        if len(parts) > 1:
            found[name] = parts
    return found


def _label(name: str, low: float, high: float, counted: str) -> str:
    unit = {"words": f"{UNIT_NAMES[counted]}s", "duration": "s"}.get(name, "dB")
    if high == float("inf"):
        return f"{low:g} {unit} and more"
    if low == -100:
        return f"below {high:g} {unit}"
    return f"{low:g} to {high - 1 if name == 'words' else high:g} {unit}"


def _numbers(values: Sequence[str]) -> np.ndarray | None:
    """As floats, NaN where empty; None where a value is no number."""
    try:
        return np.array([float(v) if v else np.nan for v in values])
    except ValueError:
        return None
