"""The start-up bench runs in small, and sees what it is there to see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench" / "startup.py"


def test_it_measures_whole_processes(script, tmp_path):
    target = tmp_path / "deep" / "startup.json"
    done = subprocess.run(
        [sys.executable, BENCH, "--repeats", "2", "--json", target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(target.read_text())
    assert found == json.loads(done.stdout)
    assert set(found["targets"]) < set(found["seconds"])
    for spread in found["seconds"].values():
        assert spread["repeats"] == 2
        assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    floor = found["seconds"]["python -c pass"]["low"]
    assert all(found["seconds"][name]["low"] > floor for name in found["targets"])
    assert str(Path.home()) not in target.read_text()
    rows = script("tables.py").startup(found)
    assert [row[0] for row in rows] == [f"`{name}`, start to end" for name in found["targets"]]


def test_what_imports_torch_even_inside_a_function_is_found(script, tmp_path, monkeypatch):
    bench = script("bench/startup.py")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    (tmp_path / "torch" / "nn.py").write_text("")
    (tmp_path / "torch_like.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert bench.heavy_imports(["-c", "def f():\n    import torch.nn\nf()"]) == ["torch"]
    assert bench.heavy_imports(["-c", "def f():\n    import torch.nn"]) == []
    assert bench.heavy_imports(["-c", "import torch_like"]) == []


def test_a_program_that_fails_is_no_measurement(script):
    with pytest.raises(SystemExit, match="ended with 3"):
        script("bench/startup.py").run(["-c", "raise SystemExit(3)"])


def test_sides_alternate(script):
    measuring = script("bench/_measuring.py")
    order = []
    seconds = measuring.alternating({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert [len(values) for values in seconds.values()] == [3, 3]
    assert measuring.spread([5, 1, 2.25], 1) == {"median": 2.2, "low": 1, "high": 5, "repeats": 3}
    assert measuring.spread([1499.6], None) == {"median": 1500, "low": 1500, "high": 1500, "repeats": 1}


def test_a_table_is_the_one_given_else_the_corpora_s(script, tmp_path, monkeypatch):
    measuring = script("bench/_measuring.py")
    monkeypatch.delenv(measuring.CORPORA, raising=False)
    with pytest.raises(SystemExit, match=r"(?s)c/train.csv: no such table.*set SPEECHXFER_CORPORA"):
        measuring.corpus_table(None, "c/train.csv")
    table = tmp_path / "c" / "train.csv"
    table.parent.mkdir()
    table.write_text("")
    monkeypatch.setenv(measuring.CORPORA, str(tmp_path))
    assert measuring.corpus_table(None, "c/train.csv") == table
    assert measuring.named(table) == "c/train.csv"
    with pytest.raises(SystemExit, match=r"other\.csv: no such table"):
        measuring.corpus_table(tmp_path / "other.csv", "c/train.csv")
