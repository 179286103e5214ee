"""Timestamps in a table's texts: trained as tokens, or removed; references never have any, and the log says it."""

from __future__ import annotations

import pytest
from datasets import Dataset

import speechxfer
from speechxfer.adaptation.data.splits import prepare_splits
from speechxfer.adaptation.data.timestamps import clean_references, describe_targets, remove_special_tokens
from speechxfer.config import load_recipe
from speechxfer.data.reader import read
from speechxfer.models import load
from speechxfer.report.progress import Reporter

COLUMN = 2  # the text, in the corpus' table


class Log(Reporter):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.text = ""

    def info(self, words: object = "") -> None:
        self.text += f"{words}\n"


@pytest.fixture
def timed_table(corpus_table, tmp_path):
    """The corpus, each word with its times."""
    header, *lines = corpus_table.read_text().splitlines()
    rows = [line.split(",") for line in lines]
    for cells in rows:
        cells[1] = str(corpus_table.parent / cells[1])
        cells[COLUMN] = f"<|0.00|> {cells[COLUMN]}<|0.40|>"
    (tmp_path / "timed.csv").write_text("\n".join([header, *(",".join(cells) for cells in rows)]) + "\n")
    return tmp_path / "timed.csv"


def prepare(recipe_values, table, *overrides):
    log = Log()
    return prepare_splits(load_recipe(recipe_values, [f"data.train={table}", *overrides]), log), log


def test_every_second_training_text_keeps_its_times(recipe_values, timed_table):
    splits, log = prepare(recipe_values, timed_table)
    assert splits.texts == [
        f"<|0.00|> {word}<|0.40|>" if number % 2 == 0 else word for number, word in enumerate(["one", "two", "six"] * 3)
    ]
    for rows, count in ((splits.train, 9), (splits.dev, 3), (splits.test, 6)):
        assert sorted(rows["text"]) == sorted(["one", "two", "six"] * (count // 3))
    assert splits.train.column_names == splits.dev.column_names
    assert "dev: timestamps and other special tokens were removed from 3 texts" in log.text
    assert "train: timestamps" not in log.text


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("head={kind: ctc}", "a ctc head has no tokens for them"),
        ("augment.speed=[0.9, 1.0]", "augment.speed changes the times"),
    ],
)
def test_where_they_cannot_be_trained_they_are_removed(recipe_values, timed_table, override, reason):
    splits, log = prepare(recipe_values, timed_table, override)
    assert splits.texts == ["one", "two", "six"] * 3
    assert f"train: timestamps and other special tokens were removed from 9 texts: {reason}" in log.text


def test_the_log_says_what_the_checkpoint_can_do(recipe_values, timed_table, tiny_whisper):
    splits, _ = prepare(recipe_values, timed_table)
    model = load(tiny_whisper, device="cpu")
    assert "has no timestamp tokens" in describe_targets(splits.texts, model)
    model.whisper.config.vocab_size += 1_600
    assert describe_targets(splits.texts, model).startswith("5 training texts are trained with timestamp tokens")
    assert describe_targets(["one"], model) is None


def test_texts_without_any_are_not_touched(recipe_values, corpus_table):
    splits, log = prepare(recipe_values, corpus_table)
    assert splits.texts == ["one", "two", "six"] * 3 and "timestamps" not in log.text
    rows = Dataset.from_dict({"text": ["one", None], "id": ["1", "2"]})
    assert remove_special_tokens(rows, "text") == (rows, 0)


def test_references_are_scored_without_them(tiny_whisper, timed_table, corpus_table):
    (_, warning) = clean_references(read(timed_table), "text")
    assert warning == ["timestamps and other special tokens were removed from 18 references"]
    found = speechxfer.evaluate(tiny_whisper, timed_table, device="cpu")
    assert found.score.overall == speechxfer.evaluate(tiny_whisper, corpus_table, device="cpu").score.overall
