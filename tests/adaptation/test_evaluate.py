"""Evaluation of any MODEL on any DATA: the score of the model's own predictions; unusable rows are named."""

from __future__ import annotations

from pathlib import Path

import pytest

import speechxfer
from speechxfer.adaptation.evaluate import prepare_evaluation_set
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.models import load, predict_all
from speechxfer.scoring import ScoringOptions, score


def test_the_score_is_that_of_the_models_predictions(tiny_whisper: Path, corpus_table: Path) -> None:
    found = speechxfer.evaluate(tiny_whisper, corpus_table, normaliser="basic", device="cpu")
    rows = read(corpus_table)
    hypotheses = predict_all(load(tiny_whisper, device="cpu"), rows)
    assert found.hypotheses == hypotheses
    truth = score(list(rows["text"]), hypotheses, options=ScoringOptions(normaliser="basic"))
    assert found.score.counts == truth.counts
    assert set(found.score.by) >= {"speaker", "accent"}


def test_invalid_rows_are_named_or_skipped(tiny_whisper: Path, corpus_table: Path, tmp_path: Path) -> None:
    lines = corpus_table.read_text(encoding="utf-8").splitlines()
    places = [line.replace(",", f",{corpus_table.parent}/", 1) for line in lines[1:4]]
    table = tmp_path / "some.csv"
    table.write_text("\n".join([lines[0], *places, lines[4].replace(",", f",{tmp_path}/gone-", 1)]), encoding="utf-8")
    with pytest.raises(UserError, match="row 4") as caught:
        speechxfer.evaluate(tiny_whisper, table, device="cpu")
    assert "--skip-bad" in str(caught.value)
    assert speechxfer.evaluate(tiny_whisper, table, device="cpu", skip_bad=True).score.counts.utterances == 3


def test_data_without_a_reference_is_refused(tiny_whisper: Path, corpus_table: Path) -> None:
    rows = read(corpus_table).remove_columns(["text"])
    with pytest.raises(UserError, match="has no column 'text' to score against"):
        prepare_evaluation_set(rows, "data.csv", load(tiny_whisper, device="cpu"))


def test_the_set_has_a_fingerprint_of_ids_and_references(tiny_whisper: Path, corpus_table: Path) -> None:
    model, rows = load(tiny_whisper, device="cpu"), read(corpus_table)
    whole, part = (prepare_evaluation_set(some, "data.csv", model) for some in (rows, rows.select(range(3))))
    assert whole.fingerprint == prepare_evaluation_set(rows, "other.csv", model).fingerprint != part.fingerprint
