"""Output folders of exports: atomic, and without loss of other files."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.errors import UserError
from speechxfer.export.output_dir import atomic_output_dir


def write(output: Path, source: Path, *, overwrite: bool = False) -> None:
    with atomic_output_dir(output, source, overwrite=overwrite) as scratch:
        (scratch / "config.json").write_text("new")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("source")
    return folder


def test_a_new_folder_with_its_parents_and_an_empty_one(source, tmp_path):
    write(tmp_path / "a" / "b", source)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", source)
    assert (tmp_path / "a/b/config.json").read_text() == (tmp_path / "empty/config.json").read_text() == "new"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o755


def test_a_model_is_replaced_only_when_asked(source, tmp_path):
    write(tmp_path / "out", source)
    (tmp_path / "out/model.bin").write_text("old")
    with pytest.raises(UserError, match=r"(?s)a model already exists.*--overwrite"):
        write(tmp_path / "out", source)
    assert (tmp_path / "out/model.bin").exists()
    write(tmp_path / "out", source, overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_failure_keeps_the_old_folder(source, tmp_path):
    write(tmp_path / "out", source)
    (tmp_path / "out/config.json").write_text("old")
    with pytest.raises(RuntimeError), atomic_output_dir(tmp_path / "out", source, overwrite=True) as scratch:
        (scratch / "config.json").write_text("half")
        raise RuntimeError
    assert (tmp_path / "out/config.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


@pytest.mark.parametrize("held", ["notes.md", "recipe.yaml", "vocab.json", "thesis.txt", "results.json"])
def test_other_files_are_never_replaced(held, source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / held).write_text("mine")
    with pytest.raises(UserError, match=f"contains other files .*{held}"):
        write(tmp_path / "out", source, overwrite=True)
    assert (tmp_path / "out" / held).read_text() == "mine"


def test_a_run_the_model_itself_and_a_file_are_never_replaced(source, tmp_path):
    for output in (source, source.parent, tmp_path):
        with pytest.raises(UserError, match="is or contains the folder of the exported model"):
            write(output, source, overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        write(tmp_path / "file", source, overwrite=True)
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "file" / "below", source)
    assert (source / "config.json").read_text() == "source"
