"""DATA as a Dataset: ids, spans and columns, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.data.reader import read
from speechxfer.errors import UserError


def table(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def test_ids_and_cuts(tmp_path: Path) -> None:
    rows = read(table(tmp_path, "audio,start,end\na.wav,0,1.25\na.wav,1.25,\na.wav,,\n"))
    assert rows["id"][:] == ["a.wav#0-1.25", "a.wav#1.25-", "a.wav"]
    assert (rows[0]["start"], rows[1]["end"], rows[2]["start"]) == (0.0, None, None)
    rows = read(table(tmp_path, "id,audio,start,end\nx,a.wav,0,1\n,a.wav,1,2\n"))
    assert rows["id"][:] == ["x", "a.wav#1-2"]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("file,sentence,spk\na.wav,hi,01\n", {"audio": "a.wav", "text": "hi", "speaker": "01"}),
        ("Audio,Text\na.wav,hi\n", {"audio": "a.wav", "text": "hi"}),
        ("path,sentence,prediction\na.wav,hi,ho\n", {"audio": "a.wav", "text": "hi", "prediction": "ho"}),
        ("audio,reference,hypothesis\na.wav,hi,ho\n", {"text": "hi", "hypothesis": "ho"}),
        ("path,audio,text\nx,a.wav,hi\n", {"audio": "a.wav", "text": "hi"}),
        ("audio_filepath,offset,duration,text\na.wav,1.5,2,hi\n", {"start": 1.5, "end": 3.5, "duration": "2"}),
        ("audio_filepath,duration,text\na.wav,2.75,hi\n", {"duration": "2.75", "text": "hi"}),
    ],
)
def test_columns_get_their_canonical_names(tmp_path: Path, content: str, row: dict[str, object]) -> None:
    found = read(table(tmp_path, content))[0]
    assert {name: found[name] for name in row} == row
    assert "start" in row or "start" not in found


def test_named_columns(tmp_path: Path) -> None:
    source = table(tmp_path, "text,raw,where\nHello!,hello,a.wav\n")
    found = read(source, columns={"audio": "where", "text": "raw"})[0]
    assert (found["audio"], found["text"], found["text.1"]) == ("a.wav", "hello", "Hello!")
    with pytest.raises(UserError, match=r"text=rawer \(did you mean 'raw'\?\)"):
        read(source, columns={"audio": "where", "text": "rawer"})


@pytest.mark.parametrize(
    ("content", "ids", "message"),
    [
        ("audio,text\na.wav,hi\nb.wav,ho\na.wav,hu\n", ["a.wav", "b.wav", "a.wav-2"], "'a.wav' in rows 1, 3: a number"),
        ("id,audio\n7,a.wav\n7,b.wav\n8,c.wav\n", ["a.wav", "b.wav", "c.wav"], "'7' in rows 1, 2: the audio's name"),
        ("id,audio\n7,a.wav\n7,a.wav\n7-2,a.wav\n", ["7", "7-3", "7-2"], "'7' in rows 1, 2: a number"),
    ],
)  # fmt: skip
def test_duplicate_ids_become_unique(tmp_path: Path, content: str, ids: list[str], message: str) -> None:
    messages: list[str] = []
    assert list(read(table(tmp_path, content), on_warning=messages.append)["id"]) == ids
    assert len(messages) == 1 and message in messages[0]
    with pytest.warns(UserWarning, match="more than once"):
        read(tmp_path / "t.csv")


def test_absolute_paths_become_short_ids(tmp_path: Path) -> None:
    inside = table(tmp_path, f"audio\n{tmp_path}/x/a.wav\nb.wav\n")
    assert list(read(inside)["id"]) == ["x/a.wav", "b.wav"]
    (tmp_path / "tables").mkdir()
    outside = table(tmp_path / "tables", f"audio\n{tmp_path}/x/y/a.wav\n{tmp_path}/x/b.wav\n")
    rows = read(outside)
    assert list(rows["id"]) == ["y/a.wav", "b.wav"] and rows[1]["path"] == f"{tmp_path}/x/b.wav"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"audio,text\n", "has no rows"),
        ("t.csv", b"sound,text\na.wav,hi\n", "has no column 'audio'; its columns are sound, text"),
        ("t.csv", b"sound,text\na.wav,hi\n", r"--column audio=NAME, in a recipe data.columns={audio: NAME}"),
        ("t.csv", b"audio,words\na.wav,hi\n", "has no column 'text'; its columns are id, audio, words"),
        ("t.csv", b"audio,text,start\na.wav,hi,soon\nb.wav,ho,nan\n", "row 1: start is 'soon'"),
        ("t.csv", b"audio,text,start\na.wav,hi,soon\nb.wav,ho,nan\n", "row 2: start is 'nan'"),
        ("t.parquet", b"PAR1 not really", "is not readable parquet"),
        ("t.csv", b"a.wav,one\nb.wav,two\n", "has no header: its first line is a.wav, one\n  fix: write a first line"),
        ("t.csv", b"a.wav|one\nb.wav|two\n", "has no header: its first line is a.wav, one"),
        ("t.wav", b"RIFF", "is not DATA"),
        ("t.xlsx", b"PK", "is not DATA"),
    ],
)
def test_data_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = table(tmp_path, content, name)
    with pytest.raises(UserError) as caught:
        read(file, need=["text"])
    assert message in str(caught.value)
    assert name in str(caught.value)
