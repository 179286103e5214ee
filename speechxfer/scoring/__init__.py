"""References and hypotheses become counts, rates, intervals and comparisons. Nothing here imports torch."""

from speechxfer.scoring.compare import Comparison, compare, compare_all
from speechxfer.scoring.counts import Counts, Interval, Part
from speechxfer.scoring.result import Score, Word
from speechxfer.scoring.scorer import score

__all__ = ["Comparison", "Counts", "Interval", "Part", "Score", "Word", "compare", "compare_all", "score"]
