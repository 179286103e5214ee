"""A score with all that is reported about its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from speechxfer.scoring.counts import Counts
from speechxfer.scoring.error_analysis import ErrorAnalysis, analyse_errors
from speechxfer.scoring.punctuation import CaseCounts, PunctuationCounts, count_punctuation_and_case
from speechxfer.scoring.result import Score
from speechxfer.scoring.rule_counts import count_by_rule
from speechxfer.scoring.terms import Term, TermCounts, count_terms


@dataclass(frozen=True)
class AnalysedScore:
    """A score with its error analysis.

    Attributes:
        rules: `count_by_rule` of the score.
        terms: occurrences of listed terms; None if none were listed.
        punctuation: errors of punctuation; None if they were not asked for, as is `case`.
    """

    score: Score
    errors: ErrorAnalysis
    rules: list[tuple[str, Counts]]
    terms: TermCounts | None = None
    punctuation: PunctuationCounts | None = None
    case: CaseCounts | None = None


def analyse_score(
    score: Score, *, terms: Mapping[str, Term] | None = None, punctuation: bool = False, case: bool = False
) -> AnalysedScore:
    """Analyse the errors of a score.

    Args:
        terms: as `read_terms` returns them.
        punctuation: also count errors of punctuation.
        case: also count errors of letter case.
    """
    marks = capitals = None
    if punctuation or case:
        marks, capitals = count_punctuation_and_case(score.references, score.hypotheses)
    return AnalysedScore(
        score=score,
        errors=analyse_errors(score),
        rules=count_by_rule(score),
        terms=None if terms is None else count_terms(score, terms),
        punctuation=marks if punctuation else None,
        case=capitals if case else None,
    )
