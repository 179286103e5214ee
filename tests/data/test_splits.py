"""Parts: whatever the table, no row stands in two, and carved parts share no speaker."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data.splits import Splits, make_splits
from speechxfer.errors import UserError


def table(path: Path, rows: list[dict[str, str]]) -> str:
    names = list(rows[0])
    path.write_text("\n".join([",".join(names), *(",".join(row[name] for name in names) for row in rows)]) + "\n")
    return str(path)


def rows_of(speakers: int, each: int, **more: Callable[[int], str]) -> list[dict[str, str]]:
    return [
        {"audio": f"{n:03}.wav", "text": "t", "speaker": f"{n // each:03}"} | {name: of(n) for name, of in more.items()}
        for n in range(speakers * each)
    ]


def ids(made: Splits) -> tuple[set[str], set[str], set[str]]:
    return set(made.train["id"]), set(made.dev["id"]), set(made.test["id"])


@settings(max_examples=40)
@given(st.integers(3, 40), st.integers(1, 4), st.integers(0, 1000))
def test_carved_by_speaker(tmp_path_factory: pytest.TempPathFactory, speakers: int, each: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("p") / "t.csv"
    rows = rows_of(speakers, each)
    made = make_splits(table(path, rows), seed=seed)
    train, dev, test = ids(made)
    assert len(train) + len(dev) + len(test) == len(train | dev | test) == len(rows)
    voices = [set(part["speaker"]) for part in (made.train, made.dev, made.test)]
    assert sum(map(len, voices)) == speakers
    assert len(voices[2]) == max(1, round(speakers / 5))
    assert len(voices[1]) == max(1, round(speakers / 10))
    assert made.warnings == []
    random.Random(seed).shuffle(rows)
    assert ids(make_splits(table(path, rows), seed=seed)) == (train, dev, test)  # the order of rows does not matter


def test_the_seed_matters_and_is_stated(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", rows_of(30, 2))
    made = make_splits(source, seed=1)
    assert ids(made) != ids(make_splits(source, seed=2))
    assert made.split_info["test"] == {
        "from": "carved: 6 of 30 values of speaker, seed 1",
        "utterances": 12,
        "values of speaker": 6,
    }
    assert made.split_info["train"]["utterances"] == 42


def test_another_group_column(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", rows_of(12, 2, school=lambda n: f"s{n % 6}"))
    made = make_splits(source, group="school")
    assert not set(made.train["school"]) & set(made.test["school"])


def test_the_split_column(tmp_path: Path) -> None:
    names = ["Train", "train", "train", "validation", "test", "other"]
    source = table(tmp_path / "t.csv", rows_of(12, 1, split=lambda n: names[n % 6]))
    made = make_splits(source)
    assert [len(part) for part in (made.train, made.dev, made.test)] == [6, 2, 2]
    assert set(made.dev["split"]) == {"validation"}
    assert made.warnings == ["2 rows are in no split: their split is other, not train, dev or test"]
    assert make_splits(source, split="ignore").split_info["test"]["from"].startswith("carved: 2 of 12")


def test_dev_is_carved_from_train_where_split_gives_none(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", rows_of(10, 2, split=lambda n: "test" if n >= 14 else "train"))
    made = make_splits(source)
    assert len(made.test) == 6
    assert set(made.dev["split"]) == {"train"}
    assert not set(made.dev["speaker"]) & set(made.train["speaker"])
    assert len(made.train) + len(made.dev) == 14


def test_a_split_column_of_other_words_is_not_looked_at(tmp_path: Path) -> None:
    made = make_splits(table(tmp_path / "t.csv", rows_of(10, 1, split=lambda n: "left" if n % 2 else "right")))
    assert made.warnings == ["the column 'split' holds neither train, dev nor test: it was ignored"]
    assert len(made.train) + len(made.dev) + len(made.test) == 10


def test_column_values(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", rows_of(8, 2))
    made = make_splits(source, dev="speaker=001", test="speaker=003,007")
    assert set(made.test["speaker"]) == {"003", "007"}
    assert set(made.dev["speaker"]) == {"001"}
    assert len(made.train) == 10
    made = make_splits(source, test="speaker=003")
    assert "003" not in set(made.dev["speaker"]) | set(made.train["speaker"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"test": "speeker=003"}, r"no column 'speeker' \(did you mean 'speaker'\?\)"),
        ({"test": "speaker=3"}, "no row of .* has speaker '3'"),
        ({"dev": "speaker=001", "test": "speaker=001,002"}, "take the same rows"),
        ({"dev": "speaker=000,001,002", "test": "speaker=003"}, "the train split has no rows"),
        ({"test": "nowhere.csv"}, r"^data\.test=nowhere\.csv: no such file or folder"),
        ({"dev": "0.1"}, r"(?s)^data\.dev=0\.1: no such.*auto takes 10% of those in data\.train"),
        ({"test": "20%"}, r"(?s)^data\.test=20%: no such.*auto takes 20%"),
        ({"group": "client_id"}, r"no column 'client_id' \(it is read as 'speaker'\)"),
        ({"test": "speaker_id=003"}, r"no column 'speaker_id' \(it is read as 'speaker'\)"),
        ({"need": ["label"]}, "has no column 'label'"),
    ],
)
def test_what_cannot_be_parted(tmp_path: Path, asked: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_splits(table(tmp_path / "t.csv", rows_of(4, 1)), **asked)


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)2 utterances are too few for 3 splits.*set data.dev and data.test"):
        make_splits(table(tmp_path / "t.csv", rows_of(2, 1)))


def test_other_tables(tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", rows_of(6, 2, split=lambda n: "test" if n < 6 else "train"))
    others = [row | {"audio": f"x{row['audio']}", "speaker": f"x{row['speaker']}"} for row in rows_of(4, 1)]
    dev, test = table(tmp_path / "dev.csv", others[:2]), table(tmp_path / "test.csv", others[2:])
    made = make_splits(train, dev, test)
    assert [len(part) for part in (made.train, made.dev, made.test)] == [12, 2, 2]
    assert made.warnings == []
    assert made.split_info["train"]["from"] == f"DATA {train}"
    assert made.split_info["test"]["from"] == f"DATA {test}"


def test_rows_of_train_that_stand_in_test_are_not_trained_on(tmp_path: Path) -> None:
    rows = rows_of(10, 2)
    train, test = table(tmp_path / "all.csv", rows), table(tmp_path / "test.csv", rows[:4])
    made = make_splits(train, test=test)
    assert not set(made.test["id"]) & (set(made.train["id"]) | set(made.dev["id"]))
    assert any("4 rows of data.train are also in dev or test" in warning for warning in made.warnings)
    with pytest.raises(UserError, match="share 4 utterances"):
        make_splits(train, test, test)


def test_shared_speakers_are_warned_about(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", rows_of(2, 6, split=lambda n: ("train", "dev", "test")[n % 3]))
    made = make_splits(source)
    assert len(made.warnings) == 3
    assert "train and test share 'speaker' 000, 001 (2 in all)" in made.warnings[0]


def test_no_speaker_column(tmp_path: Path) -> None:
    rows = [{"audio": f"{n}.wav", "split": ("train", "dev", "test")[n % 3]} for n in range(30)]
    made = make_splits(table(tmp_path / "t.csv", rows))
    assert made.warnings == ["there is no column 'speaker': speakers may leak between the splits"]
    made = make_splits(table(tmp_path / "t.csv", rows), split="ignore")
    assert (len(made.test), len(made.dev)) == (6, 3)
    assert len(made.warnings) == 1
    assert "speakers may leak" in made.warnings[0]


def test_too_few_speakers_are_carved_by_utterance(tmp_path: Path) -> None:
    made = make_splits(table(tmp_path / "t.csv", rows_of(2, 10)))
    assert (len(made.train), len(made.dev), len(made.test)) == (14, 2, 4)
    assert "2 values of 'speaker' are too few for 3 splits" in made.warnings[0]


def test_rows_without_speaker_stay_in_train(tmp_path: Path) -> None:
    rows = rows_of(10, 2)
    for row in rows[:5]:
        row["speaker"] = ""
    made = make_splits(table(tmp_path / "t.csv", rows))
    assert sum(not speaker for speaker in made.train["speaker"]) == 5
    assert "5 rows have no speaker" in made.warnings[0]


def test_a_column_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    """Else a misspelt one would quietly let speakers stand on both sides."""
    source = table(tmp_path / "t.csv", rows_of(12, 2))
    with pytest.raises(UserError, match=r"data\.group=spaeker.*no column 'spaeker' \(did you mean 'speaker'\?\)"):
        make_splits(source, group="spaeker")
