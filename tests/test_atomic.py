"""Atomic writes: interrupted ones leave what was there."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.atomic import temporary_sibling_dir, write_text_atomically


def test_text_is_written_and_no_scratch_file_is_left(tmp_path):
    write_text_atomically(tmp_path / "a.json", "äé\n")
    assert (tmp_path / "a.json").read_bytes() == "äé\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_text(tmp_path, monkeypatch):
    write_text_atomically(tmp_path / "a.txt", "old")

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text_atomically(tmp_path / "a.txt", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"
    write_text_atomically(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()


def test_a_sibling_directory_can_be_renamed_into_place(tmp_path):
    target = tmp_path / "deep" / "model"
    with temporary_sibling_dir(target) as scratch:
        assert scratch.parent == target.parent and scratch.name.startswith(".model-")
        (scratch / "x").write_text("1")
        scratch.rename(target)
    assert (target / "x").read_text() == "1"
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_a_sibling_directory_is_removed_after_an_error(tmp_path):
    with pytest.raises(ValueError), temporary_sibling_dir(tmp_path / "model", prefix=".making-") as scratch:
        assert scratch.name.startswith(".making-")
        (scratch / "x").write_text("1")
        raise ValueError
    assert not list(tmp_path.iterdir())
