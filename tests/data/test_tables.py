"""Tables as they are written and as other programs write them; broken tables against their messages."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data.reader import read
from speechxfer.data.tables import cell_to_json, read_table, write_table
from speechxfer.errors import UserError

ROWS = [
    {"audio": "audio/a.wav", "text": 'he said "no", twice', "speaker": "0001"},
    {"audio": "audio/b.wav", "text": "größer 日本", "speaker": "1e5"},
]


def table(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_tables(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, ROWS, list(ROWS[0]))
    rows = read(tmp_path / name, need=["text"])
    assert rows[0] == {"id": "audio/a.wav", "path": str(tmp_path / "audio/a.wav"), **ROWS[0]}
    assert rows["speaker"][:] == ["0001", "1e5"]  # not 1, nor 100000.0
    assert rows["text"][1] == "größer 日本"


def test_jsonl_scalars_become_strings(tmp_path: Path) -> None:
    lines = [{"audio": "a.wav", "speaker": 7, "ok": True}, {"audio": "b.wav", "text": None, "score": [1, 2], "end": 2}]
    file = table(tmp_path, "\n".join(map(json.dumps, lines)) + "\n\n", "t.jsonl")
    rows = read(file)
    assert rows[0]["speaker"] == "7"
    assert (rows[1]["speaker"], rows[1]["text"], rows[1]["score"], rows[1]["end"]) == ("", "", "[1, 2]", 2.0)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfaudio,text,speaker\na.wav,hi,01\nb.wav,ho,02\n",  # BOM, as Excel writes
        b"audio,text,speaker\r\na.wav,hi,01\r\nb.wav,ho,02\r\n",  # Windows newlines
        b"audio;text;speaker\na.wav;hi;01\nb.wav;ho;02\n",  # Excel where the comma is the decimal sign
        b"audio\ttext\tspeaker\na.wav\thi\t01\nb.wav\tho\t02\n",  # tabs under the wrong suffix
        b" audio , text,speaker\n\na.wav,hi,01\n\nb.wav,ho,02",  # blank lines, no newline at the end
        b",audio,text,speaker\n0,a.wav,hi,01\n1,b.wav,ho,02\n",  # pandas' index
    ],
)
def test_tables_as_other_programs_write_them(tmp_path: Path, content: bytes) -> None:
    rows = read(table(tmp_path, content))
    assert rows.column_names == ["id", "audio", "path", "text", "speaker"]
    assert [(row["audio"], row["text"], row["speaker"]) for row in rows] == [
        ("a.wav", "hi", "01"),
        ("b.wav", "ho", "02"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "the table is empty"),
        ("t.csv", b"\n\n", "the table is empty"),
        ("t.csv", b"audio,text\na.wav,hi\nb.wav,caf\xe9\n", "line 3 holds the byte 0xe9"),
        ("t.csv", "audio,text\na.wav,hi\n".encode("utf-16"), "is UTF-16"),
        ("t.csv", b"audio,text\na.wav,well, yes\nb.wav\nc.wav,ho\n", "line 2 has 3 cells, the header has 2"),
        ("t.csv", b"audio,text\na.wav,well, yes\nb.wav\nc.wav,ho\n", "line 3 has 1 cells, the header has 2"),
        ("t.csv", b'audio,text\na.wav,"never closed\nb.wav,ho\n', "cannot be read"),
        ("t.csv", b"audio,text,text\na.wav,hi,ho\n", "two columns are named 'text'"),
        ("t.jsonl", b'{"audio": "a.wav"}\n{"audio": \n', "line 2: "),
        ("t.jsonl", b'["a.wav"]\n', "line 1: list instead of an object"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = table(tmp_path, content, name)
    with pytest.raises(UserError) as caught:
        read(file, need=["text"])
    assert message in str(caught.value)
    assert name in str(caught.value)


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


@settings(max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_any_cell_survives_a_table(tmp_path_factory: pytest.TempPathFactory, cells: list, suffix: str) -> None:
    path = tmp_path_factory.mktemp("t") / f"t{suffix}"
    rows = [{"audio": f"{number}.wav", "one": one, "two": two} for number, (one, two) in enumerate(cells)]
    write_table(path, rows, ["audio", "one", "two"])
    columns = read_table(path)
    assert columns["one"] == [one for one, _ in cells]
    assert columns["two"] == [two for _, two in cells]


def test_our_tables_are_plain_csv(tmp_path: Path) -> None:
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
