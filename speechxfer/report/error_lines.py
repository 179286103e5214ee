"""Lines about the errors of a score, for the terminal: rules, words, utterances, terms, punctuation and case."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from speechxfer.report.formatting import format_percent, shorten_middle
from speechxfer.scoring import Counts, Score
from speechxfer.scoring.analysis import AnalysedScore
from speechxfer.scoring.error_analysis import ErrorAnalysis
from speechxfer.scoring.labels import LabelScore

NUM_LISTED = 5  # words or utterances listed per line
_MAX_ID_LENGTH = 24  # characters of an utterance's id


def describe_score(analysed: AnalysedScore) -> list[str]:
    """Describe the other rates, the effect of normalisation and the errors of a score."""
    score = analysed.score
    if isinstance(score, LabelScore):
        return describe_errors(score, analysed.errors)
    return [
        *describe_rates(score),
        *_describe_rules(score, analysed.rules),
        *_describe_details(analysed),
        *describe_errors(score, analysed.errors),
    ]


def describe_rates(score: Score) -> list[str]:
    """Describe the rates other than the headline; the CER only where it is not the headline itself.

    Labels have none.
    """
    counts = score.counts
    if not counts.reference_words or isinstance(score, LabelScore):
        return []
    cer = "" if score.options.unit == "char" else f", CER {format_percent(counts.cer)}"
    return [f"MER {format_percent(counts.mer)}, WIL {format_percent(counts.wil)}{cer}"]


def describe_errors(score: Score, errors: ErrorAnalysis) -> list[str]:
    """Describe the words and utterances with most errors."""
    lines = []
    for title, found in (
        ("most confused", [(f"{r} > {h}", n) for r, h, n in errors.confusions]),
        ("most deleted", errors.deleted),
        ("most inserted", errors.inserted),
    ):
        if found:
            lines.append(f"{title}: " + ", ".join(f"{word} ({n:,})" for word, n in found[:NUM_LISTED]))
    if isinstance(score, LabelScore):
        return lines  # an utterance has one label, and the table of labels has their recall
    if errors.words:
        listed = ", ".join(f"{word} ({wrong:,} of {n:,})" for word, wrong, n in errors.words[:NUM_LISTED])
        lines.append(f"highest error rates of words: {listed}")
    if errors.worst:
        rows = errors.worst[:NUM_LISTED]
        names = [shorten_middle(score.ids[i], _MAX_ID_LENGTH) for i in rows]
        counts = [f"[{score.words[i, 1:].sum():,} / {score.words[i, :3].sum():,}]" for i in rows]
        worst = [f"{name} {count}" for name, count in zip(names, counts, strict=True)]
        lines.append(f"worst utterances: {', '.join(worst)}")
    if errors.over_100_percent:
        lines.append(f"utterances with more errors than words: {len(errors.over_100_percent):,}")
    if errors.loops:
        rest = _format_counts(errors.counts_without_loops)
        lines.append(f"hypotheses with repetition loops: {len(errors.loops):,}; without them {rest}")
    return lines


def _describe_rules(score: Score, rules: Sequence[tuple[str, Counts]]) -> list[str]:
    """Describe the rate before normalisation, and how each rule changed the number of errors."""
    if len(rules) < 2 or not score.counts.reference_words:
        return []
    steps = [(rule, after.errors - before.errors) for (_, before), (rule, after) in pairwise(rules)]
    changes = ", ".join(f"{rule} {change:+,}" for rule, change in steps if change)
    return [f"before normalisation {_format_counts(rules[0][1])}; change in errors by rule: {changes or 'none'}"]


def _describe_details(analysed: AnalysedScore) -> list[str]:
    """Describe listed terms, punctuation and case, where they were asked for."""
    lines = []
    if analysed.terms is not None:
        found = analysed.terms.total
        lines.append(
            f"terms: error rate {format_percent(found.error_rate)}; recall {format_percent(found.recall)} "
            f"[{found.correct:,} / {found.reference:,}], precision {format_percent(found.precision)} "
            f"[{found.correct:,} / {found.hypothesis:,}], F1 {format_percent(found.f1)}"
        )
    if analysed.punctuation is not None:
        marks = analysed.punctuation
        lines.append(
            f"punctuation: error rate {format_percent(marks.error_rate)} "
            f"[{marks.errors:,} / {marks.total.reference:,}: {marks.substitutions:,} sub, {marks.deletions:,} del, "
            f"{marks.insertions:,} ins]"
        )
    if analysed.case is not None:
        case = analysed.case
        lines.append(
            f"case: error rate {format_percent(case.error_rate)} [{case.errors:,} / {case.words:,}: "
            f"{case.missing:,} capitals missing, {case.added:,} added]"
        )
    return lines


def _format_counts(counts: Counts) -> str:
    return f"{format_percent(counts.wer)} [{counts.errors:,} / {counts.reference_words:,}]"
