"""A label is right or wrong as a whole; a transcript by its words."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset
from typer.testing import CliRunner

from speechxfer.adaptation.predictions import (
    evaluate_split,
    find_audio_links,
    make_forgetting_warnings,
    make_insertion_warnings,
    score_predictions,
    score_predictions_file,
    score_split,
    summarize_score,
    write_predictions,
)
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


@pytest.fixture
def model() -> SimpleNamespace:
    """What `evaluate_split` reads of a recogniser, except its predictions."""
    return SimpleNamespace(kind="ctc", device=torch.device("cpu"))


@pytest.fixture
def spoken(tmp_path: Path) -> Dataset:
    """Two utterances of 1.5 s and 0.75 s by two speakers: a whole file, and a part of it."""
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.full(24_000, 0.1), 16_000)
    shared = {"audio": "a.wav", "path": path, "bytes": None}
    whole = {"id": "whole", "text": "One two", "speaker": "s1", "start": None, "end": None}
    part = {"id": "part", "text": "six", "speaker": "s2", "start": 0.25, "end": 1.0}
    return Dataset.from_list([whole | shared, part | shared])


def test_an_evaluation_has_the_texts_their_score_and_the_seconds_of_audio(model, spoken):
    def predict(given: SimpleNamespace, rows: Dataset, **options: Any) -> list[str]:
        assert given is model and options["batch_seconds"] == 7
        return [{"whole": "one", "part": "six six"}[name] for name in rows["id"]]

    found = evaluate_split(model, spoken, ScoringConfig(by=["speaker"]), batch_seconds=7, predict=predict)
    counts = found.score.overall.counts
    assert found.hypotheses == ["one", "six six"]
    assert (counts.hits, counts.deletions, counts.insertions, counts.substitutions) == (2, 1, 1, 0)
    by_speaker = found.score.to_json()["by"]["speaker"]
    assert {name: group["wer"] for name, group in by_speaker.items()} == {"s1": 0.5, "s2": 1.0}
    assert (found.speed["audio_seconds"], found.speed["device"]) == (2.25, "cpu")
    assert "processes" not in found.speed


def test_links_to_audio_name_the_part_of_a_file(spoken, tmp_path):
    path = f"{tmp_path / 'a.wav'}"
    assert find_audio_links(spoken) == {"whole": path, "part": f"{path}#0.25-1"}
    rows = [{"id": "from", "path": "b.wav", "start": 2.5, "end": None}, {"id": "to", "path": "b.wav", "end": 2.5}]
    rows.append({"id": "embedded", "path": None, "bytes": b"RIFF"})
    assert find_audio_links(Dataset.from_list(rows)) == {"from": "b.wav#2.5-", "to": "b.wav#0-2.5"}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a b c d e f g h i j x", (1, 1)),
        ("a b c d e f g h i x y", None),  # half of the errors
        ("a b c d e f g h i x y z", (2, 3)),
        ("a b c d e f g h x", None),
        ("a b c d e f g h i j", None),
        ("a b c d e f g h i j " * 3, (20, 20)),
    ],
)
def test_a_warning_if_most_errors_are_insertions(text, numbers):
    rows = part("a b c d e f g h i j").rename_column("label", "text")
    warnings = make_insertion_warnings("the model", score_split(rows, [text], ScoringConfig()))
    start = [] if numbers is None else [f"{numbers[0]} of {numbers[1]} errors of the model are insertions"]
    assert [warning.split(":")[0] for warning in warnings] == start


def test_no_warning_of_few_insertions():
    rows = part("a b c d e f g h i j k").rename_column("label", "text")
    scored = score_split(rows, ["a b c d e f g h i j k x"], ScoringConfig())
    assert scored.overall.counts.insertions == 1 and make_insertion_warnings("the model", scored) == []


@pytest.mark.parametrize(
    ("before", "after", "warns"), [("a b", "a x", True), ("a x", "a b", False), ("a x", "x b", False), ("", "", False)]
)
def test_a_warning_if_the_error_rate_on_retention_increased(model, before, after, warns):
    rows = part("a b").rename_column("label", "text")
    sides = [score_predictions(model, rows, [text], {}, ScoringConfig()) for text in (before, after)]
    warnings = make_forgetting_warnings(*sides)
    assert ["increased from 0.0% to 50.0%" in warning for warning in warnings] == [True] * warns
    assert make_forgetting_warnings(None, sides[1]) == make_forgetting_warnings(sides[0], None) == []


def test_a_summary_counts_empty_predictions_and_compares_with_zero_shot():
    rows = part("a b", "c", "d e", "f").rename_column("label", "text")
    zero_shot, scored = (
        score_split(rows, texts, ScoringConfig()) for texts in (["a b", "c", "d e", "x"], ["", "c", "d", ""])
    )
    summary = summarize_score(scored, zero_shot)
    assert (summary["empty"], summary["deletions"], summary["hits"]) == (2, 4, 2)
    assert summary["against_zero_shot"]["difference"] == pytest.approx(4 / 6 - 1 / 6)
    assert "by" not in summary and "against_zero_shot" not in summarize_score(scored)
