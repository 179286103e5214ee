"""Accuracy, recall by label, balanced accuracy and confusions, against counts by hand and jiwer."""

from __future__ import annotations

import json
from collections import Counter

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions, compare_scores, score
from speechxfer.scoring.labels import LabelScore, measures_labels, score_labels

LABELS = st.sampled_from(["yes", "no", "Turn On", "turn on", "Stop!", "-", "volume up"])
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=60)


def test_by_hand() -> None:
    """Four of zero, two of one, one of two; everything but one is predicted as zero."""
    found = score_labels(["zero"] * 4 + ["one"] * 2 + ["two"], ["zero"] * 4 + ["zero", "one"] + ["zero"])
    assert (found.accuracy, found.counts.hits, found.counts.errors) == (pytest.approx(5 / 7), 5, 2)
    assert {label: one.recall for label, one in found.labels.items()} == {"zero": 1.0, "one": 0.5, "two": 0.0}
    assert found.labels["zero"].precision == pytest.approx(4 / 6) and found.labels["two"].precision is None
    assert found.balanced_accuracy == pytest.approx(0.5)
    assert found.confusion == {"one": {"one": 1, "zero": 1}, "two": {"zero": 1}, "zero": {"zero": 4}}
    assert found.never_predicted == ["two"]
    assert found.warnings[0] == "never predicted: two (balanced accuracy 50.0 %)"
    assert found.summary().startswith("71.4 % [5 / 7]") and found.summary().endswith("; balanced accuracy 50.0 %")


@given(PAIRS)
def test_every_figure_follows_from_the_pairs(pairs: list[tuple[str, str]]) -> None:
    references, predictions = map(list, zip(*pairs, strict=True))
    found = score_labels(references, predictions)
    assert found.accuracy == pytest.approx(sum(r == p for r, p in pairs) / len(pairs))
    recalls = [sum(p == label for r, p in pairs if r == label) / references.count(label) for label in {*references}]
    assert found.balanced_accuracy == pytest.approx(sum(recalls) / len(recalls))
    assert Counter({(r, p): n for r, row in found.confusion.items() for p, n in row.items()}) == Counter(pairs)
    assert {*found.never_predicted} == {*references} - {*predictions}
    assert sum(one.predicted for one in found.labels.values()) == len(pairs)
    words = [[f"{label!r}".replace(" ", "_") for label in side] for side in (references, predictions)]
    assert found.wer == pytest.approx(jiwer.wer(words[0], words[1]))


def test_labels_are_compared_as_they_are_written() -> None:
    """A label of several words is one label, and neither case nor punctuation is normalised; `-` counts."""
    references = ["Turn On", "Volume Up!", "-", "Stop!", "yes "]
    found = score_labels(references, ["turn on", "Volume Up!", "-", "stop", "yes"])
    assert (found.counts.reference_words, found.counts.hits, found.counts.substitutions) == (5, 3, 2)
    as_texts = score(references, ["turn on", "Volume Up!", "-", "stop", "yes"])
    assert as_texts.counts.reference_words == 6 and as_texts.counts.errors == 0  # what went wrong with labels


def test_groups_and_json() -> None:
    speakers = ["a", "a", "b", "b"]
    found = score_labels(["x", "y", "x", "y"], ["x", "x", "x", "y"], speakers=speakers, by=["speaker"])
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["accuracy"] == 0.75 and document["wer"] == 0.25 and document["cer"] is None
    assert {name: group["accuracy"] for name, group in document["by"]["speaker"].items()} == {"a": 0.5, "b": 1.0}
    assert document["labels"]["x"] == {"recall": 1.0, "precision": 2 / 3, "utterances": 2, "predicted": 3, "correct": 2}
    assert document["confusion"] == {"x": {"x": 2}, "y": {"x": 1, "y": 1}}
    assert "rejection" not in document
    assert isinstance(found + score_labels(["y"], ["x"], ids=["5"], speakers=["c"]), LabelScore)


def test_the_interval_is_of_the_accuracy() -> None:
    references = ["x", "y"] * 30
    predictions = [*references[:50], *["x"] * 10]
    found = score_labels(references, predictions)
    low, high = found.to_json()["accuracy_interval"]
    assert low < found.accuracy < high
    assert [1 - high, 1 - low] == pytest.approx(found.to_json()["interval"])
    assert f"95 % {100 * low:.1f} to {100 * high:.1f} over 60 utterances" in found.summary()


def test_rejected_audio() -> None:
    """Of three unknown utterances two are rejected, and of four others one."""
    references = ["unknown"] * 3 + ["yes"] * 4
    found = score_labels(references, ["unknown", "unknown", "yes", "yes", "yes", "unknown", "no"])
    assert found.rejection == {
        "rejected": 2 / 3,
        "unknown_utterances": 3,
        "wrongly_rejected": 1 / 4,
        "known_utterances": 4,
    }
    assert found.summary().endswith("unknown rejected 66.7 %; others rejected 25.0 %")
    only_known = score_labels(["yes", "yes"], ["yes", "unknown"])
    assert only_known.rejection == {"unknown_utterances": 0, "wrongly_rejected": 0.5, "known_utterances": 2}


def test_a_better_classifier_has_a_positive_difference() -> None:
    references = ["x", "y"] * 20
    before, after = score_labels(references, ["x"] * 40), score_labels(references, references)
    comparison = compare_scores(before, after)
    assert comparison.difference == -0.5  # of the error rates, as for words
    assert comparison.summary().startswith("+50.0 points") and comparison.summary().endswith("better")
    assert compare_scores(after, before).summary().startswith("-50.0 points")
    assert compare_scores(after, after).summary().startswith("+0.0 points")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normaliser": "english"}, "labels are not normalised, but the normaliser is 'english'"),
        ({"compounds": True}, "without compounds"),
        ({"notation": True}, "without notation"),
    ],
)
def test_options_that_change_labels_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ScoringOptions(unit="label", **options)  # type: ignore[arg-type]


def test_an_utterance_without_a_label_is_named() -> None:
    with pytest.raises(UserError, match="1 of 2 utterances have no label, the first is 'b'"):
        score_labels(["x", " "], ["x", "x"], ids=["a", "b"])


def test_a_file_says_what_it_measures() -> None:
    assert measures_labels({"measure": ["accuracy", "accuracy"]})
    assert not measures_labels({"measure": ["accuracy", None]}) and not measures_labels({"measure": ["dB", "dB"]})
    assert not measures_labels({"speaker": ["accuracy"]}) and not measures_labels({"measure": []})
