"""CSV, TSV and JSONL: column names of this toolkit, of Hugging Face and of NeMo; mistakes by line."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.errors import UserError
from speechxfer.scoring.formats import tables
from speechxfer.scoring.formats.tables import read_table_transcript


def read_csv(path, side):
    return read_table_transcript(path, side, format="csv")


def read_jsonl(path, side):
    return read_table_transcript(path, side, format="jsonl")


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "t"
        rows = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(rows, encoding="utf-8")
        return path

    return written


def test_csv(write):
    path = write('id,text,client_id,accent,duration\n1,"a, b",s,uk,1.5\n2,,t,us,\n')
    found = read_csv(path, "reference")
    assert found.column == "text" and found.format == "csv"
    assert [(u.id, u.text, u.speaker, u.line, u.absent) for u in found.utterances] == [
        ("1", "a, b", "s", 2, False),
        ("2", "", "t", 3, False),
    ]
    assert found.utterances[0].columns == {"client_id": "s", "accent": "uk", "duration": "1.5"}


def test_semicolons_and_quotes_of_a_tsv(write):
    assert read_csv(write("id;text\n1;a, b\n"), "reference").utterances[0].text == "a, b"
    assert read_table_transcript(write('id\ttext\n1\t"a\n'), "reference", format="tsv").utterances[0].text == '"a'


@pytest.mark.parametrize("name", ["hypothesis", "hyp", "pred_text", "prediction"])
def test_the_side_chooses_the_column(write, name):
    path = write([{"id": 1, "text": "ref", name: "hyp"}])
    left, right = (read_jsonl(path, side).utterances[0] for side in ("reference", "hypothesis"))
    assert (left.text, left.other) == ("ref", "hyp") and (right.text, right.other) == ("hyp", "ref")


def test_null_is_absent_and_empty_is_not(write):
    path = write([{"id": 1, "hyp": None}, {"id": 2, "hyp": ""}, {"id": 3, "hyp": 7}])
    assert [(u.text, u.absent) for u in read_jsonl(path, "hypothesis").utterances] == [
        ("", True),
        ("", False),
        ("7", False),
    ]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"audio": "x.wav"}, "x.wav"),
        ({"audio": {"path": "x.wav", "array": [0]}}, "x.wav"),
        ({"audio": "x.wav", "start": "0.50", "end": 1}, "x.wav#0.5-1"),
        ({"audio": "x.wav", "start": ".5", "end": None}, "x.wav#0.5-"),
        ({"audio": "x.wav", "start": None, "end": "2.0"}, "x.wav#0-2"),
        ({"audio_filepath": "x.wav", "offset": 1.5, "duration": 2}, "x.wav#1.5-3.5"),
        ({"audio_filepath": "x.wav", "offset": "1.50", "duration": "2.0"}, "x.wav#1.5-3.5"),
        ({"audio_filepath": "x.wav", "offset": 3, "end": "9.0"}, "x.wav#3-9"),
        ({"audio": "x.wav", "duration": 2}, "x.wav"),
        ({"audio": "x.wav", "start": "soon", "end": 1}, "x.wav#soon-1"),
    ],
)
def test_audio_names_an_utterance_without_an_id(write, row, name):
    (found,) = read_jsonl(write([{**row, "text": "a"}]), "reference").utterances
    assert found.id == found.audio == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,id,text\n1,1,a\n", "two columns are named 'id'"),
        ("id,text\n1,a,b\n", "line 2 has 3 cells, the header has 2"),
        ('id,text\n1,"a\n', "cannot be read"),
        ("id,words\n1,a\n", "no column for the reference"),
        ("id,hypothesis\n1,a\n", "or swap the two files"),
        ("text,x\na,b\n", "no 'id' or 'audio' column"),
        ("id,text\n ,a\n", "line 2: no id"),
        ("id,text\n", "no utterances"),
        ("", "the table is empty"),
    ],
)
def test_mistakes_in_a_csv(write, content, message):
    with pytest.raises(UserError, match=message):
        read_csv(write(content), "reference")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]\n", "line 1: a list instead of an object"),
        ("{}x\n", "line 1: Extra data"),
        ("[" * 100_000 + "\n", "line 1: nested too deeply"),
        ('{"id": "\\ud800", "text": "a"}\n', "line 1: an unpaired surrogate"),
        ([{"id": 1, "text": ["a"]}], r"line 1 \(1\): 'text' is a list, not a text"),
        ([{"id": 1, "text": True}], r"line 1 \(1\): 'text' is a bool, not a text"),
        ([{"id": 1, "text": None}], r"line 1 \(1\): no 'text'"),
    ],
)
def test_mistakes_in_json_lines(write, content, message):
    with pytest.raises(UserError, match=message):
        read_jsonl(write(content), "reference")


def test_ids_that_occur_twice_give_way_to_the_audio(write):
    rows = [{"id": 7, "audio": "a.wav", "text": "a"}, {"id": 7, "audio": "b.wav", "text": "b"}]
    assert [u.id for u in read_jsonl(write(rows), "reference").utterances] == ["a.wav", "b.wav"]
    rows[1]["audio"] = "a.wav"
    assert [u.id for u in read_jsonl(write(rows), "reference").utterances] == ["7", "7"]


def test_nan_is_absent(write):
    assert read_jsonl(write('{"id": 1, "hyp": NaN}\n'), "hypothesis").utterances[0].absent


def test_named_columns(write):
    path = write("key,who,said\n1,ann,a b\n")
    columns = {"id": "key", "speaker": "who", "hypothesis": "said"}
    (found,) = read_table_transcript(path, "hypothesis", columns, format="csv").utterances
    assert (found.id, found.speaker, found.text) == ("1", "ann", "a b")


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=6)


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
def test_rows_converted_at_once_are_those_converted_one_by_one(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "speaker", "accent"])
        writer.writerows([f"u{k}", *row] for k, row in enumerate(rows))
    at_once = read_table_transcript(path, "reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_convert_columns", lambda *_: None)
        assert read_table_transcript(path, "reference") == at_once
