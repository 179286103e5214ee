"""Tables as this toolkit and other programs write them; broken tables against their messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.data.tables import write_table
from speechxfer.errors import UserError
from speechxfer.tables import parse_table, read_table
from speechxfer.tables.reader import detect_delimiter

EXPECTED = {"audio": ["a.wav", "b.wav"], "text": ["hi", "ho"], "spk": ["01", "02"]}

OBJECTS = ('{"audio": "a.wav", "text": "hi", "spk": "01"}', '{"audio": "b.wav", "text": "ho", "spk": "02"}')


def parse(content: str, name: str = "t.csv", **options: object):
    return parse_table(Path(name), content, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "audio,text,spk\na.wav,hi,01\nb.wav,ho,02\n"),
        ("t.csv", "audio,text,spk\r\na.wav,hi,01\r\nb.wav,ho,02\r\n"),
        ("t.csv", "audio;text;spk\na.wav;hi;01\nb.wav;ho;02\n"),
        ("t.csv", "audio\ttext\tspk\na.wav\thi\t01\nb.wav\tho\t02\n"),
        ("t.csv", "audio|text|spk\na.wav|hi|01\nb.wav|ho|02\n"),
        ("t.tsv", "audio,text,spk\na.wav,hi,01\nb.wav,ho,02\n"),
        ("t.csv", " audio , text,spk\n\na.wav,hi,01\n\nb.wav,ho,02"),
        ("t.csv", ",audio,text,spk\n0,a.wav,hi,01\n1,b.wav,ho,02\n"),  # pandas' index
        ("t.csv", '"audio";"text";"spk"\n"a.wav";"hi";"01"\n"b.wav";"ho";"02"\n'),
        ("t.json", f"[{OBJECTS[0]},\n {OBJECTS[1]}]"),
        ("t.json", "[\n  " + ",\n  ".join(OBJECTS) + "\n]"),
        ("t.manifest", "\n".join(OBJECTS) + "\n"),
    ],
)  # fmt: skip
def test_tables_as_other_programs_write_them(name: str, content: str) -> None:
    assert parse(content, name).columns == EXPECTED


def test_lines_and_absent_keys() -> None:
    table = parse('{"id": 1}\n\n{"id": null, "text": "a"}\n', "t.jsonl")
    assert (table.lines, table.columns) == ([1, 3], {"id": [1, None], "text": [None, "a"]})
    assert parse('id,text\n1,"a\nb"\n2,c\n').lines == [3, 4]


def test_nan_is_absent() -> None:
    assert parse('{"id": 1, "text": NaN}\n', "t.jsonl").columns["text"] == [None]


def test_quotation_marks_in_tsv() -> None:
    """They enclose cells if all of the file can be read so, and are text otherwise."""
    assert parse('id\ttext\n1\t"he said ""no"""\n', "t.tsv").columns["text"] == ['he said "no"']
    assert parse('id\ttext\n1\t"Quoted" she said.\n2\tno\n', "t.tsv").columns["text"] == ['"Quoted" she said.', "no"]
    assert parse('id\ttext\n1\t"a\n2\tb\n', "t.tsv").columns["text"] == ['"a', "b"]
    assert parse('id\ttext\n1\t"a"\n', "t.tsv", quoted=False).columns["text"] == ['"a"']


@pytest.mark.parametrize(
    ("header", "usual", "found"),
    [
        ("id,text", ",", ","),
        ("id;text", ",", ";"),
        ("a|b", ",", "|"),
        ("text", ",", ","),
        ("one;two,three", ",", ","),
        ("id,a;text;speaker", ",", ";"),
    ],
)
def test_delimiters(header: str, usual: str, found: str) -> None:
    assert detect_delimiter(header + "\n", usual) == found


def test_names_of_a_table_without_a_header() -> None:
    assert parse("1,a\n2,b\n", names=("id", "text")).columns == {"id": ["1", "2"], "text": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "the table is empty"),
        ("t.jsonl", "\n\n", "the table is empty"),
        ("t.csv", "audio,text\na.wav,well, yes\nb.wav\nc.wav,ho\n", "line 2 has 3 cells, the header has 2"),
        ("t.csv", "audio,text\na.wav,well, yes\nb.wav\nc.wav,ho\n", "line 3 has 1 cells, the header has 2"),
        ("t.csv", 'audio,text\na.wav,"never closed\nb.wav,ho\n', r"t\.csv:3: cannot be read"),
        ("t.csv", "audio,text,text\na.wav,hi,ho\n", "two columns are named 'text'"),
        ("t.jsonl", '{"audio": "a.wav"}\n{"audio": \n', "line 2: Expecting value"),
        ("t.jsonl", '["a.wav"]\n', "line 1: a list instead of an object"),
        ("t.jsonl", "{}x\n", "line 1: Extra data"),
        ("t.jsonl", "[" * 100_000 + "\n", "line 1: nested too deeply"),
        ("t.jsonl", '{"id": ' + "9" * 5_000 + "}\n", "line 1: Exceeds the limit"),
        ("t.jsonl", '{"id": "\\ud800", "text": "a"}\n', "line 1: an unpaired surrogate"),
        ("t.json", '{\n"rows": [{"id": 1}]\n}\n', "is JSON, but not an array of objects"),
        ("t.json", '[\n{"id": 1},\n{"id": 2\n]\n', "is not JSON"),
    ],
)  # fmt: skip
def test_broken_tables_are_named(name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse(content, name)
    assert name in str(caught.value) and len(str(caught.value).splitlines()) < 5


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


@settings(max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_any_cell_survives_a_table(tmp_path_factory: pytest.TempPathFactory, cells: list, suffix: str) -> None:
    path = tmp_path_factory.mktemp("t") / f"t{suffix}"
    rows = [{"audio": f"{number}.wav", "one": one, "two": two} for number, (one, two) in enumerate(cells)]
    write_table(path, rows, ["audio", "one", "two"])
    columns = read_table(path).columns
    assert columns["one"] == [one for one, _ in cells]
    assert columns["two"] == [two for _, two in cells]


def test_long_cells(tmp_path: Path) -> None:
    long = "a " * 100_000
    (tmp_path / "t.csv").write_text(f"id,text\n1,{long}\n")
    assert read_table(tmp_path / "t.csv").columns["text"] == [long]
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": 1, "text": long}) + "\n")
    assert read_table(tmp_path / "t.jsonl").columns["text"] == [long]
