"""Metrics by name: their values against jiwer and counts by hand, and names that cannot be used."""

from __future__ import annotations

import jiwer
import pytest

from speechxfer.errors import UserError
from speechxfer.scoring import score
from speechxfer.scoring.labels import score_labels
from speechxfer.scoring.metrics import METRICS, choose_metric, compute_metric

REFERENCES = ["one two three four", "five six", "seven"]
HYPOTHESES = ["one too three", "five six six", "seven"]


@pytest.mark.parametrize("name", ["wer", "cer", "mer", "wil"])
def test_metrics_of_texts_are_jiwer_s(name: str) -> None:
    found = compute_metric(choose_metric(name, "word"), score(REFERENCES, HYPOTHESES))
    assert found == pytest.approx(getattr(jiwer, name)(REFERENCES, HYPOTHESES))


def test_metrics_of_labels() -> None:
    found = score_labels(["a", "a", "a", "b"], ["a", "a", "b", "a"])
    assert compute_metric(choose_metric("accuracy", "label"), found) == pytest.approx(1 - 2 / 4)
    assert compute_metric(choose_metric("balanced_accuracy", "label"), found) == pytest.approx(1 - (2 / 3 + 0) / 2)


@pytest.mark.parametrize(
    ("unit", "label"), [("word", "WER"), ("char", "CER"), ("mixed", "error rate"), ("label", "accuracy")]
)
def test_the_default_is_the_rate_of_the_unit(unit: str, label: str) -> None:
    assert choose_metric("auto", unit).label == label


@pytest.mark.parametrize(
    ("name", "unit", "message"),
    [
        ("were", "word", r"unknown metric 'were' \(did you mean 'wer'\?\)"),
        ("accuracy", "word", "'accuracy' is a metric of labels, and these are texts"),
        ("cer", "label", "'cer' is a metric of texts, and these are labels"),
    ],
)
def test_names_that_cannot_be_used(name: str, unit: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        choose_metric(name, unit)
    assert str(caught.value).startswith("scoring.metric: ") and "fix: use " in str(caught.value)


def test_no_words_have_no_value() -> None:
    with pytest.raises(UserError, match="WER has no value"):
        compute_metric(choose_metric("wer", "word"), score([""], [""]))


def test_the_built_in_names() -> None:
    assert METRICS.names[:6] == ("wer", "cer", "mer", "wil", "accuracy", "balanced_accuracy")
