"""Several tables of training data as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.config import DataTable
from speechxfer.data.collection import read_tables
from speechxfer.errors import UserError


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("audio,text,speaker\na/1.wav,one,x\na/2.wav,two,y\n")
    (tmp_path / "b.csv").write_text("file,sentence\nb/1.wav,six\n")
    return tmp_path


def test_one_table_after_another(tables: Path) -> None:
    rows = read_tables([DataTable(path=str(tables / "a.csv")), DataTable(path=str(tables / "b.csv"), weight=0.5)])
    assert rows["text"][:] == ["one", "two", "six"]
    assert rows["speaker"][:] == ["x", "y", ""] and rows["weight"][:] == [1.0, 1.0, 0.5]
    assert rows[2]["path"] == str(tables / "b/1.wav")
    assert "weight" not in read_tables([DataTable(path=str(tables / name)) for name in ("a.csv", "b.csv")]).column_names


def test_a_pattern(tables: Path) -> None:
    assert len(read_tables(str(tables / "*.csv"))) == 3
    with pytest.raises(UserError, match=r"\*\.tsv: no file matches this pattern"):
        read_tables(str(tables / "*.tsv"))


def test_ids_of_two_tables_become_unique(tables: Path) -> None:
    messages: list[str] = []
    twice = [DataTable(path=str(tables / "b.csv"))] * 2
    assert read_tables(twice, on_warning=messages.append)["id"][:] == ["b/1.wav", "b/1.wav-2"]
    assert "1 ids occur in more than one table, e.g. 'b/1.wav'" in messages[0]


def test_a_language_for_each_table(tables: Path) -> None:
    """A column `language` of the table, often the speaker's first language, stays what it is."""
    (tables / "a.csv").write_text("audio,text,language\na/1.wav,eins,polish\n")
    german, other = DataTable(path=str(tables / "a.csv"), language="de"), DataTable(path=str(tables / "b.csv"))
    assert read_tables([german])["text_language"][:] == ["de"]
    rows = read_tables([german, other])
    assert rows["text_language"][:] == ["de", ""] and rows["language"][:] == ["polish", ""]
    assert "text_language" not in read_tables([other, other], on_warning=lambda _: None).column_names
