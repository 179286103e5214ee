"""Metrics: the figure of a score that models are selected by, and that `--fail-above` limits.

Packages add further ones by entry points of the group `speechxfer.metrics` (see `speechxfer.registry`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from speechxfer.errors import UserError
from speechxfer.registry import Registry
from speechxfer.scoring.labels import LabelScore
from speechxfer.scoring.result import Score
from speechxfer.scoring.tokens import LABEL_UNIT
from speechxfer.scoring.units import METRIC_NAMES

AUTO_METRIC = "auto"


@dataclass(frozen=True)
class Metric:
    """A figure of a score.

    Attributes:
        label: as shown, e.g. "WER". A label that ends in "accuracy" is shown as 1 - the error rate.
        compute_error: returns the error rate of a score, a fraction of which lower is better; None if the references
            have nothing to count.
        for_labels: of a classifier's labels, scored as `LabelScore`; otherwise of texts.
    """

    label: str
    compute_error: Callable[[Score], float | None]
    for_labels: bool = False


METRICS: Registry[Metric] = Registry("speechxfer.metrics", "metric")


def _get_balanced_error(score: Score) -> float | None:
    assert isinstance(score, LabelScore)
    return None if score.balanced_accuracy is None else 1 - score.balanced_accuracy


METRICS.register("wer")(Metric(METRIC_NAMES["word"], lambda score: score.wer))
METRICS.register("cer")(Metric("CER", lambda score: score.cer))
METRICS.register("mer")(Metric("MER", lambda score: score.counts.mer))
METRICS.register("wil")(Metric("WIL", lambda score: score.counts.wil))
METRICS.register("accuracy")(Metric(METRIC_NAMES[LABEL_UNIT], lambda score: score.wer, for_labels=True))
METRICS.register("balanced_accuracy")(Metric("balanced accuracy", _get_balanced_error, for_labels=True))


def choose_metric(name: str, unit: str, *, where: str = "scoring.metric") -> Metric:
    """Return the metric of a name, for scores that count `unit`.

    `auto` is the error rate (`wer`), of labels the accuracy. `wer` is named after the unit: the WER of words, the CER
    of characters.

    Args:
        unit: "word", "char", "mixed" or "label".
        where: of the errors.

    Raises:
        UserError: for an unknown name, a metric of labels for texts, and one of texts for labels.
    """
    is_label = unit == LABEL_UNIT
    if name == AUTO_METRIC:
        name = "accuracy" if is_label else "wer"
    metric = METRICS.get(name, where=where)
    if metric.for_labels != is_label:
        names = [AUTO_METRIC, *(one for one in METRICS.names if METRICS.get(one).for_labels == is_label)]
        problem = f"'{name}' is a metric of {'labels' if metric.for_labels else 'texts'}"
        raise UserError(
            f"{problem}, and these are {'labels' if is_label else 'texts'}", where=where, fix=f"use {', '.join(names)}"
        )
    return replace(metric, label=METRIC_NAMES[unit]) if name == "wer" else metric


def compute_metric(metric: Metric, score: Score) -> float:
    """Return the error rate of a score by a metric.

    Raises:
        UserError: if the metric has no value for the score.
    """
    error = metric.compute_error(score)
    if error is None:
        problem = f"{metric.label} has no value: the references have nothing to count"
        raise UserError(problem, where="scoring.metric")
    return error
