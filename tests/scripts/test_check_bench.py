"""The bench of `speechxfer check` runs in small: what it makes is clean, and no two rows are alike."""

from __future__ import annotations

from speechxfer.data.audit import audit_dataset
from speechxfer.data.reader import read


def test_its_rows_are_clean_and_all_different(script, tmp_path):
    bench = script("bench/check.py")
    names = bench.write_files(tmp_path, 8)
    assert {name.rpartition(".")[2] for name in names} == set(bench.FORMATS)
    bench.write_rows(tmp_path / "t.csv", names, 60)
    found = audit_dataset(read(tmp_path / "t.csv"))
    assert (found.errors, found.warnings, len(found.usable)) == ([], [], 60)
    assert 60 * 1 < found.hours * 3600 < 60 * 3


def test_it_measures_the_whole_command(script, tmp_path):
    bench = script("bench/check.py")
    bench.write_rows(tmp_path / "t.csv", bench.write_files(tmp_path, 2), 3)
    found = bench.check(tmp_path / "t.csv")
    assert found["rows"] == 3
    assert found["seconds"] > 0 and found["peak_memory_mb"] > 50 and found["lines_of_progress"] == 0
