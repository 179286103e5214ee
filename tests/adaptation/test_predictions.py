"""A label is right or wrong as a whole; a transcript by its words."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from datasets import Dataset
from typer.testing import CliRunner

from speechxfer.adaptation.predictions import score_predictions_file, score_split, write_predictions
from speechxfer.cli import build_app
from speechxfer.config.recipe import ScoringConfig


def part(*labels: str) -> Dataset:
    rows = [{"id": f"{n}", "audio": f"{n}.wav", "label": label} for n, label in enumerate(labels)]
    return Dataset.from_list(rows)


@pytest.mark.parametrize(
    ("meant", "texts", "wrong"),
    [
        (["volume up", "volume down"], ["volume down", "volume down"], 1),
        (["volume up", "volume_up", "volume__up"], ["volume_up", "volume up", "volume up"], 3),
        (["?", "!"], ["?", "?"], 1),
        (["On", "on"], ["on", "on"], 1),
        (["go", "stop"], ["go", "stop"], 0),
    ],
)
def test_a_label_is_one_word(meant, texts, wrong, tmp_path):
    found = score_split(part(*meant), texts, ScoringConfig(), reference="label", labels=True)
    counts = found.overall.counts
    assert (counts.substitutions, counts.insertions, counts.deletions) == (wrong, 0, 0)
    assert found.wer == wrong / len(meant)
    write_predictions(tmp_path / "after.jsonl", part(*meant), texts, reference="label", labels=True)
    assert score_predictions_file(tmp_path / "after.jsonl", ScoringConfig(), labels=True).wer == found.wer
    lines = [json.loads(line) for line in (tmp_path / "after.jsonl").read_text().splitlines()]
    assert [line["hypothesis"] for line in lines] == texts  # as it is written
    assert {line["measure"] for line in lines} == {"accuracy"}
    options = ["score", str(tmp_path / "after.jsonl"), "--json", "-", "-q"]
    assert json.loads(CliRunner().invoke(build_app(), options).stdout)["result"] == found.to_json()


def test_what_parquet_holds_and_json_does_not(tmp_path):
    """A date is its text, a number that is none is nothing; and it scores as before it was written."""
    day = datetime(2026, 1, 2, 3, 4)
    rows = Dataset.from_list(
        [{"id": f"{n}", "audio": "a.wav", "text": "a b", "day": day, "snr": (float("nan"), 2.5)[n]} for n in (0, 1)]
    )
    write_predictions(tmp_path / "after.jsonl", rows, ["a b", "a"], reference="text")
    first, second = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "after.jsonl").open()]
    assert (first["day"], "snr" in first, second["snr"]) == (str(day), False, 2.5)
    assert (
        score_predictions_file(tmp_path / "after.jsonl", ScoringConfig()).wer
        == score_split(rows, ["a b", "a"], ScoringConfig()).wer
    )
    with pytest.raises(ValueError, match="zip"):
        write_predictions(tmp_path / "after.jsonl", rows, ["a b"], reference="text")
    assert len((tmp_path / "after.jsonl").read_text().splitlines()) == 2  # whole, as it was


def test_a_transcript_is_scored_by_its_words():
    rows = part("volume up", "volume down").rename_column("label", "text")
    assert score_split(rows, ["volume down", "volume down"], ScoringConfig()).wer == 0.25
