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
    ("name", "content", "message"),
    [
        ("t.csv", b"audio,text\n", "has no rows"),
        ("t.csv", b"file,text\na.wav,hi\n", "has no column 'audio'; its columns are file, text"),
        ("t.csv", b"Audio,text\na.wav,hi\n", "has no column 'audio' (did you mean 'Audio'?)"),
        ("t.csv", b"audio,sentence\na.wav,hi\n", "has no column 'text'; its columns are id, audio, sentence"),
        ("t.csv", b"audio,sentence\na.wav,hi\n", "rename 'sentence' to 'text'"),
        ("t.csv", b"path,text\na.wav,hi\n", "rename 'path' to 'audio'"),
        ("t.csv", b"audio,text\na.wav,hi\nb.wav,ho\na.wav,hu\n", "'a.wav' in rows 1, 3"),
        ("t.csv", b"id,audio,text\nx,a.wav,hi\nx,b.wav,ho\n", "'x' in rows 1, 2"),
        ("t.csv", b"audio,text,start\na.wav,hi,soon\nb.wav,ho,nan\n", "row 1: start is 'soon'"),
        ("t.csv", b"audio,text,start\na.wav,hi,soon\nb.wav,ho,nan\n", "row 2: start is 'nan'"),
        ("t.parquet", b"PAR1 not really", "is not readable parquet"),
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
