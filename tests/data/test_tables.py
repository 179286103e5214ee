"""Cells as strings and as JSON values, and the tables that are written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from speechxfer.data.reader import read
from speechxfer.data.tables import cell_to_json, concat_tables, write_table

ROWS = [
    {"audio": "audio/a.wav", "text": 'he said "no", twice', "speaker": "0001"},
    {"audio": "audio/b.wav", "text": "größer 日本", "speaker": "1e5"},
]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_tables(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, ROWS, list(ROWS[0]))
    rows = read(tmp_path / name, need=["text"])
    assert rows[0] == {"id": "audio/a.wav", "path": str(tmp_path / "audio/a.wav"), **ROWS[0]}
    assert rows["speaker"][:] == ["0001", "1e5"]  # not 1, nor 100000.0
    assert rows["text"][1] == "größer 日本"


def test_jsonl_scalars_become_strings(tmp_path: Path) -> None:
    lines = [{"audio": "a.wav", "speaker": 7, "ok": True}, {"audio": "b.wav", "text": None, "score": [1, 2], "end": 2}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    rows = read(tmp_path / "t.jsonl")
    assert rows[0]["speaker"] == "7"
    assert (rows[1]["speaker"], rows[1]["text"], rows[1]["score"], rows[1]["end"]) == ("", "", "[1, 2]", 2.0)


def test_written_tables_are_plain_csv(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ROWS, list(ROWS[0]))
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    assert list(csv.DictReader(io.StringIO(text))) == ROWS
    assert "\r" not in text


def test_cells_become_json_values() -> None:
    assert [cell_to_json(cell) for cell in (None, "a", 1, float("nan"), [1, float("inf")])] == [
        None,
        "a",
        1,
        None,
        [1, None],
    ]


def test_concatenated_tables() -> None:
    both = concat_tables([{"a": ["1"], "b": ["2"]}, {"a": ["3", "4"]}])
    assert both == {"a": ["1", "3", "4"], "b": ["2", "", ""]}
