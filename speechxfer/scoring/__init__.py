"""References and hypotheses become counts, rates, intervals and comparisons. Nothing here imports torch."""

from speechxfer.scoring.comparison import Comparison, compare_scores, compare_systems
from speechxfer.scoring.counts import Counts, GroupScore, Interval
from speechxfer.scoring.result import AlignedWord, Score
from speechxfer.scoring.scorer import score

__all__ = [
    "AlignedWord",
    "Comparison",
    "Counts",
    "GroupScore",
    "Interval",
    "Score",
    "compare_scores",
    "compare_systems",
    "score",
]
