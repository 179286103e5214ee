"""The sentence error rate: the share of the utterances that have any error."""

from __future__ import annotations

from speechxfer.scoring import Score
from speechxfer.scoring.metrics import Metric


def compute_sentence_error_rate(score: Score) -> float | None:
    wrong = score.words[:, 1:].any(axis=1)  # substitutions, deletions or insertions
    return float(wrong.mean()) if len(wrong) else None


SENTENCES = Metric("SER", compute_sentence_error_rate)
