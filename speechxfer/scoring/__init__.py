"""Scoring of hypotheses against references: counts, rates, confidence intervals and comparisons. Imports no torch."""

from speechxfer.scoring.comparison import Comparison, compare_scores, compare_systems
from speechxfer.scoring.counts import Counts, GroupScore, Interval
from speechxfer.scoring.options import ScoringOptions
from speechxfer.scoring.result import AlignedWord, Score
from speechxfer.scoring.scorer import score

__all__ = [
    "AlignedWord",
    "Comparison",
    "Counts",
    "GroupScore",
    "Interval",
    "Score",
    "ScoringOptions",
    "compare_scores",
    "compare_systems",
    "score",
]
