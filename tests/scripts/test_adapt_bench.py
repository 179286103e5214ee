"""The benchmarks of `adapt` and of the methods on a tiny model, and the tables of their results."""

from __future__ import annotations

import csv
import json
import shutil
import sys

import pytest

import speechxfer
from speechxfer.report.progress import Reporter


def test_it_measures_a_process_of_its_own(script, tiny_whisper, corpus_table, tmp_path, capfd, monkeypatch):
    bench, target = script("bench/adapt.py"), tmp_path / "adapt.json"
    monkeypatch.setattr(sys, "argv", ["-c", str(tiny_whisper)])
    exec(bench.WARM_UP, {})  # here, where everything is imported already
    monkeypatch.setattr(bench, "WARM_UP", "pass")
    words = ["--utterances", "18", "--repeats", "1", "--model", str(tiny_whisper), "--json", str(target)]
    bench.main([str(corpus_table), *words, "--set", "device=cpu", "stages.0.batch_seconds=2"])
    found = json.loads(target.read_text())
    assert found["splits"] == {"train": 9, "dev": 3, "test": 6}  # by the table's own split
    assert found["what"].startswith("speechxfer adapt accent-whisper stages.0.epochs=1 decoding.kind=greedy")
    steps = found["seconds"]
    assert 0 < steps["training"]["low"] < steps["total"]["low"] < steps["whole process"]["low"]
    assert found["peak_memory_mb"]["low"] > 100  # torch alone is more
    assert found["trained_parameters"][0] > 10_000
    (row,) = script("tables.py").adapt(found)
    assert "on 9 utterances, dev 3, test 6" in row[0] and row[1].endswith("GB of memory")
    text = target.read_text()
    assert str(tmp_path) not in text and str(tiny_whisper.parent) not in text and str(corpus_table.parent) not in text
    capfd.readouterr()


def test_a_run_that_fails_is_told_with_its_words(script, corpus_table, tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)ended with 2:.*unknown key 'no_such'"):
        script("bench/adapt.py").measure_adapt(corpus_table, tmp_path / "run", ["no_such=1"])


def test_methods_beside_each_other_and_what_stands_is_kept(
    script, tiny_whisper, corpus_table, tmp_path, capfd, monkeypatch
):
    bench, target = script("bench/methods.py"), tmp_path / "methods.json"

    def adapted(recipe, words, output):
        """As `_processes.adapted`, which the tests above run, without a process of its own."""
        run = speechxfer.adapt(recipe, *words, f"output={output}", reporter=Reporter(quiet=True))
        return run.report.to_json(), 1.0, 100.0

    monkeypatch.setattr(bench, "adapted", adapted)
    test = tmp_path / "test.csv"
    rows = [dict(row) for row in csv.DictReader(corpus_table.open(newline=""))]
    for row in rows:
        row["audio"] = str(corpus_table.parent / row["audio"])
    train = tmp_path / "train.csv"
    for path, chosen in (
        (train, [r for r in rows if r["split"] != "test"]),
        (test, [r for r in rows if r["split"] == "test"]),
    ):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(chosen)
    words = [str(train), str(test), "--work", str(tmp_path / "work"), "--every", "2", "--methods", "head", "full"]
    settings = [f"encoder.name={tiny_whisper}", "device=cpu", "stages.0.epochs=1"]
    bench.main([*words, "--json", str(target), "--set", *settings])
    found = json.loads(target.read_text())
    head, full = found["methods"]["head"], found["methods"]["full"]
    assert head["before"] == full["before"] and head["trained_parameters"] < full["trained_parameters"]
    chosen = sorted({row["speaker"] for row in rows if row["split"] == "train"})[::2]
    wanted = sum(row["split"] == "train" and row["speaker"] in chosen for row in rows)
    assert head["train_utterances"] == wanted < 9 and found["every"] == 2
    assert found["missing"] == ["LoRA", "staged", "joint"]
    bench.main([*words, "--json", str(target), "--set", "no_such=1"])  # no run is repeated
    assert json.loads(target.read_text()) == found
    shutil.rmtree(tmp_path / "work")  # the file alone is enough
    bench.main([*words, "--json", str(target), "--set", "no_such=1"])
    assert json.loads(target.read_text()) == found
    results = script("tables.py").Results(tmp_path)
    results.found = {"bench-methods": found}
    table = script("tables.py").methods_table([], results)
    assert (
        "| head | `accent-whisper stages.0.train=head stages.0.decoder_lr=1e-4` |" in table
        and "one training speaker in 2" in table
    )
    assert "| joint | not measured yet |" in table
    capfd.readouterr()


def test_rows_are_spread_evenly_and_their_audio_is_found_from_anywhere(script, corpus_table, tmp_path):
    bench = script("bench/adapt.py")
    bench.write_subset(corpus_table, 6, tmp_path / "small.csv")
    with (tmp_path / "small.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["speaker"] for row in rows] == ["s0", "s1", "s2", "s3", "s4", "s5"]
    assert [row["audio"] for row in rows] == [str(corpus_table.parent / f"{voice}-one.wav") for voice in range(6)]
    with pytest.raises(SystemExit, match="has 18 rows, 19 are needed"):
        bench.write_subset(corpus_table, 19, tmp_path / "large.csv")
