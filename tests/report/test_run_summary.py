"""Sentences about a run, from a report made by hand."""

from __future__ import annotations

from speechxfer.report.run_report import RunReport
from speechxfer.report.run_summary import describe_outcome, summarize_run, summarize_selection

FIGURES = {
    "before": None,
    "after": {"wer": 0.22},
    "metric": "WER",
    "selected": "stage 1, mean of its last 2 epochs",
    "candidates": [
        {"name": "zero-shot", "dev": 0.4, "dev_beam": None},
        {"name": "stage 1, mean of its last 2 epochs", "dev": 0.2, "dev_beam": 0.18},
        {"name": "stage 1", "dev": 0.21, "dev_beam": 0.19},
        {"name": "stage 0", "dev": 0.3, "dev_beam": None},
    ],
    "stages": [
        {
            "train": ["head"],
            "epochs": [{}] * 6,
            "dev": 0.3,
            "seconds": 61.4,
            "cached": True,
            "trained_parameters": 1234,
        },
        {
            "train": ["head", "top-2"],
            "epochs": [{}] * 4,
            "dev": 0.21,
            "seconds": 1200.0,
            "trained_parameters": 5_000_000,
        },
    ],
    "normaliser": "default",
    "splits": {},
    "speed": {"training_seconds": 1261.4, "device": "cpu"},
    "provenance": {
        "recipe": {
            "encoder": {"name": "whisper-tiny.en"},
            "head": {"kind": "seq2seq"},
            "scoring": {"unit": "word"},
            "seed": 7,
        }
    },
}


def report(**more):
    return RunReport.model_validate(FIGURES | more)


def test_the_selected_candidate_and_the_runners_up():
    assert summarize_selection(report()) == {
        "selected": "stage 1, mean of its last 2 epochs (dev 20.0 %, beam search 18.0 %)",
        "runners-up": "stage 1 21.0 %, beam search 19.0 %; stage 0 30.0 %; zero-shot 40.0 %",
    }
    measured = {"after_padded_to_30s": {"wer": 0.25, "interval": [0.2, 0.31]}}
    retained = {"retention": {"before": {"wer": 0.1}, "after": {"wer": None}}}
    found = summarize_selection(report(**measured, **retained))
    assert found["padded to 30 s"] == "WER 25.0 % (20.0 % to 31.0 %), as in plain transformers"
    assert found["retention"] == "WER 10.0 % before, unknown after"


def test_a_metric_of_the_recipe_is_shown_on_test_and_other_rates_keep_their_name():
    measured = {"after_padded_to_30s": {"wer": 0.25}, "test_metric": {"before": 0.2, "after": 0.1}}
    found = summarize_selection(report(metric="CER", **measured))
    assert found["scoring.metric"] == "CER on test 20.0 % before, 10.0 % after"
    assert found["padded to 30 s"] == "WER 25.0 %, as in plain transformers"
    assert summarize_selection(report(metric="SER", test_metric={"after": None}))["scoring.metric"].endswith(
        "unknown after"
    )


def test_a_run_without_other_candidates():
    alone = report(metric="error rate", selected="stage 0", candidates=[{"name": "stage 0", "dev": 0.02}])
    assert summarize_selection(alone) == {"selected": "stage 0 (dev 2.0 %)"}


def test_every_stage_is_described():
    found = summarize_run(report())
    assert found["stage 0"] == "head: 1,234 parameters, 6 epochs in 61 s, from cached features, dev 30.0 %"
    assert found["stage 1"] == "head, top-2: 5,000,000 parameters, 4 epochs in 1,200 s, dev 21.0 %"
    assert (found["seed"], found["training"]) == ("7", "1,261 s on cpu")


def test_the_outcome_is_a_sentence():
    assert describe_outcome(report()) == (
        "The model kept is 'stage 1, mean of its last 2 epochs': WER on dev 18.0 %, "
        "the lowest of 3 trained candidates, 40.0 % before adaptation."
    )
    assert describe_outcome(report(selected="zero-shot")) == (
        "No trained model is better than the pretrained one, which is kept: WER on dev 40.0 %; "
        "the best, 'stage 1, mean of its last 2 epochs', has 18.0 %."
    )
    alone = report(metric="CER", selected="stage 0", candidates=[{"name": "stage 0", "dev": 0.02}])
    assert describe_outcome(alone) == "The model kept is 'stage 0': CER on dev 2.0 %, the only trained candidate."


def test_a_classifier_is_described_by_its_accuracy():
    described = report(metric="accuracy", after={"wer": 0.22, "accuracy": 0.78}, retention={"before": {"wer": 0.25}})
    assert describe_outcome(described) == (
        "The model kept is 'stage 1, mean of its last 2 epochs': accuracy on dev 82.0 %, "
        "the highest of 3 trained candidates, 60.0 % before adaptation."
    )
    facts = summarize_run(described)
    assert "normaliser" not in facts and facts["stage 0"].endswith("dev 70.0 %")
    assert facts["runners-up"].startswith("stage 1 79.0 %, beam search 81.0 %")
    assert facts["retention"] == "accuracy 75.0 % before"
