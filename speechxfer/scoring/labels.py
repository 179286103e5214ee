"""Scores of a classifier: accuracy, recall and precision by label, balanced accuracy and the confusion matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from speechxfer.errors import UserError
from speechxfer.scoring.counts import GroupScore
from speechxfer.scoring.groups import sort_values
from speechxfer.scoring.inputs import Texts
from speechxfer.scoring.options import ScoringOptions
from speechxfer.scoring.result import Score
from speechxfer.scoring.scorer import score
from speechxfer.scoring.tokens import LABEL_UNIT

# the column of a file of predictions that says what they are scored by, and its value for labels
MEASURE_COLUMN, LABEL_MEASURE = "measure", "accuracy"
UNKNOWN_LABEL = "unknown"  # of audio that has none of the other labels, and the prediction for rejected audio
_MAX_NAMED_LABELS = 20  # in a warning
_TEXT_RATES = ("cer", "mer", "wil")  # rates of texts, which say nothing about labels


@dataclass(frozen=True)
class LabelCounts:
    """Counts of one label.

    Attributes:
        utterances: with this label as the reference.
        predicted: with this label as the prediction.
        correct: with both.
    """

    utterances: int
    predicted: int
    correct: int

    @property
    def recall(self) -> float | None:
        """Share of the label's utterances that are predicted as it; None without such utterances."""
        return self.correct / self.utterances if self.utterances else None

    @property
    def precision(self) -> float | None:
        """Share of the predictions of the label that are correct; None if it is never predicted."""
        return self.correct / self.predicted if self.predicted else None

    def to_json(self) -> dict[str, Any]:
        return {"recall": self.recall, "precision": self.precision, **vars(self)}


@dataclass(frozen=True, eq=False, repr=False)
class LabelScore(Score):
    """A score of labels: every utterance is right or wrong as a whole. Made by `score_labels`.

    What `Score` calls words are labels here, so that `wer` is 1 - `accuracy`.
    """

    @property
    def accuracy(self) -> float | None:
        """Share of the utterances whose label is predicted; None without utterances."""
        return compute_accuracy(self.overall)

    @cached_property
    def confusion(self) -> dict[str, dict[str, int]]:
        """Number of utterances by reference and prediction, without zeros; both in sorted order."""
        pairs = Counter(zip(map(str.strip, self.references), map(str.strip, self.hypotheses), strict=True))
        rows: dict[str, dict[str, int]] = {label: {} for label in sort_values({reference for reference, _ in pairs})}
        predicted = {label: number for number, label in enumerate(sort_values({label for _, label in pairs}))}
        for (reference, label), count in sorted(pairs.items(), key=lambda item: predicted[item[0][1]]):
            rows[reference][label] = count
        return rows

    @cached_property
    def labels(self) -> dict[str, LabelCounts]:
        """Counts by label: the references' labels first, then those that are only predicted; each in sorted order."""
        predicted: Counter[str] = Counter()
        for row in self.confusion.values():
            predicted.update(row)
        others = sort_values({label for label in predicted if label not in self.confusion})
        return {
            label: LabelCounts(sum(row.values()), predicted[label], row.get(label, 0))
            for label, row in [*self.confusion.items(), *((label, {}) for label in others)]
        }

    @cached_property
    def balanced_accuracy(self) -> float | None:
        """Mean recall of the labels that occur in the references, as scikit-learn's `balanced_accuracy_score`."""
        recalls = [counts.recall for counts in self.labels.values() if counts.recall is not None]
        return sum(recalls) / len(recalls) if recalls else None

    @property
    def never_predicted(self) -> list[str]:
        """Labels of the references that no utterance is predicted as."""
        return [label for label, counts in self.labels.items() if not counts.predicted]

    @cached_property
    def rejection(self) -> dict[str, float | int] | None:
        """Shares of the audio that is rejected as `UNKNOWN_LABEL`, and utterances; None if that label does not occur.

        `rejected` is of the utterances with that label, `wrongly_rejected` of all others.
        """
        if UNKNOWN_LABEL not in self.labels:
            return None
        unknown = self.labels[UNKNOWN_LABEL]
        num_known, wrong = self.counts.reference_words - unknown.utterances, unknown.predicted - unknown.correct
        return {
            **({"rejected": unknown.correct / unknown.utterances} if unknown.utterances else {}),
            "unknown_utterances": unknown.utterances,
            **({"wrongly_rejected": wrong / num_known} if num_known else {}),
            "known_utterances": num_known,
        }

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        missing = self.never_predicted
        if not missing:
            return super().warnings
        more = f" and {len(missing) - _MAX_NAMED_LABELS} more" if len(missing) > _MAX_NAMED_LABELS else ""
        named = f"never predicted: {', '.join(missing[:_MAX_NAMED_LABELS])}{more}"
        return (f"{named} (balanced accuracy {100 * (self.balanced_accuracy or 0):.1f} %)", *super().warnings)

    def summary(self) -> str:
        """Return e.g. `87.5 % [42 / 48], 95 % 75.0 to 95.8 over 24 speakers; balanced accuracy 66.7 %`.

        With `rejection` its shares follow.
        """
        if self.accuracy is None or self.balanced_accuracy is None:
            return "no accuracy: no labels"
        counts = self.counts
        text = f"{100 * self.accuracy:.1f} % [{counts.hits:,} / {counts.reference_words:,}]"
        if (interval := self.interval) is not None:
            low, high = 100 * (1 - interval.high), 100 * (1 - interval.low)
            text += f", 95 % {low:.1f} to {high:.1f} over {interval.units:,} {interval.over}"
        text += f"; balanced accuracy {100 * self.balanced_accuracy:.1f} %"
        rejection = self.rejection or {}
        for name, key in (("unknown rejected", "rejected"), ("others rejected", "wrongly_rejected")):
            text += f"; {name} {100 * rejection[key]:.1f} %" if key in rejection else ""
        return text

    def to_json(self) -> dict[str, Any]:
        """Return what `Score.to_json` returns, with the accuracy of every group, and the labels and their confusions.

        The keys of every score are kept: `wer` is 1 - `accuracy`, and `reference_words` the number of labels. The rates
        of texts (CER, MER, WIL) are None.
        """
        by = {
            column: {value: _group_to_json(group) for value, group in groups.items()}
            for column, groups in self.by.items()
        }
        return {
            **_group_to_json(self.overall),
            "balanced_accuracy": self.balanced_accuracy,
            "never_predicted": self.never_predicted,
            **({} if self.rejection is None else {"rejection": self.rejection}),
            "labels": {label: counts.to_json() for label, counts in self.labels.items()},
            "confusion": self.confusion,
            "by": by,
        }

    def __add__(self, other: Score) -> LabelScore:
        return _to_label_score(super().__add__(other))


def score_labels(
    references: Texts, hypotheses: Texts, *, options: ScoringOptions | None = None, **kwargs: Any
) -> LabelScore:
    """Score predicted labels against the labels of the references, as they are written.

    Args:
        references, hypotheses: labels, and what else `speechxfer.scoring.score` takes.
        options: only their seed is used.

    Raises:
        UserError: for an utterance without a label, and as `score` does.
    """
    chosen = ScoringOptions(unit=LABEL_UNIT) if options is None else replace(options, unit=LABEL_UNIT)
    found = _to_label_score(score(references, hypotheses, options=chosen, **kwargs))
    without = [name for name, label in zip(found.ids, found.references, strict=True) if not label.strip()]
    if without:
        problem = f"{len(without)} of {len(found.ids)} utterances have no label, the first is '{without[0]}'"
        raise UserError(problem, fix="give each a label, or leave it out")
    return found


def compute_accuracy(group: GroupScore) -> float | None:
    """Return the accuracy of a group of utterances with labels: 1 - its error rate; None without utterances."""
    return None if group.wer is None else 1 - group.wer


def measures_labels(columns: Mapping[str, Any]) -> bool:
    """Whether a table of predictions says in `MEASURE_COLUMN`, in every row, that they are labels."""
    values = columns.get(MEASURE_COLUMN)
    return bool(values) and all(value == LABEL_MEASURE for value in values or ())


def _to_label_score(found: Score) -> LabelScore:
    return LabelScore(**{field.name: getattr(found, field.name) for field in fields(Score)})


def _group_to_json(group: GroupScore) -> dict[str, Any]:
    interval = group.interval
    return {
        "accuracy": compute_accuracy(group),
        "accuracy_interval": None if interval is None else [1 - interval.high, 1 - interval.low],
        **group.to_json(),
        **dict.fromkeys(_TEXT_RATES),
    }
