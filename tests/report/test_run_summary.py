"""What a run's report says in short, from numbers made by hand."""

from __future__ import annotations

from speechxfer.report.run_summary import summarize_run, summarize_selection

REPORT = {
    "measure": "WER",
    "kept": "stage 1, mean of its last 2 epochs",
    "candidates": [
        {"name": "untouched", "dev": 0.4, "dev_beam": None},
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
    "speed": {"training_seconds": 1261.4, "device": "cpu"},
    "provenance": {"recipe": {"encoder": {"name": "whisper-tiny.en"}, "head": {"kind": "seq2seq"}, "seed": 7}},
}


def test_the_winner_and_those_behind_it():
    assert summarize_selection(REPORT) == {
        "kept": "stage 1, mean of its last 2 epochs (dev 20.0%, by beam 18.0%)",
        "behind it": "stage 1 21.0%, by beam 19.0%; stage 0 30.0%; untouched 40.0%",
    }
    measured = {"after_padded_to_30s": {"wer": 0.25, "interval": [0.2, 0.31]}}
    forgotten = {"forgetting": {"before": {"wer": 0.1}, "after": {"wer": None}}}
    found = summarize_selection(REPORT | measured | forgotten)
    assert found["padded to 30 s"] == "WER 25.0% (20.0% to 31.0%), as plain transformers will run it"
    assert found["other speech"] == "WER 10.0% before, unknown after"


def test_a_run_without_anything_to_compare():
    alone = summarize_selection(
        {"measure": "error rate", "kept": "stage 0", "candidates": [{"name": "stage 0", "dev": 0.02}]}
    )
    assert alone == {"kept": "stage 0 (dev 2.0%)"}


def test_every_stage_is_stated():
    found = summarize_run(REPORT)
    assert found["stage 0"] == "head: 1,234 parameters, 6 epochs in 61 s, from kept frames, dev 30.0%"
    assert found["stage 1"] == "head, top-2: 5,000,000 parameters, 4 epochs in 1,200 s, dev 21.0%"
    assert (found["seed"], found["training"]) == ("7", "1,261 s on cpu")
