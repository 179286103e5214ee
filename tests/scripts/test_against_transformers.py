"""The benchmark against transformers' fine-tuning scripts on tiny models: both sides train, in as many batches."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import pytest

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TINY |= {"conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 8), "conv_stride": (5, 8, 8), "apply_spec_augment": False}
TINY |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "layerdrop": 0.0}


@pytest.fixture
def given(tiny_whisper, corpus_table, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHXFER_FRAMES", str(tmp_path / "frames"))
    values = {"table": corpus_table, "folder": tmp_path, "model": str(tiny_whisper), "threads": 1}
    values |= {"utterances": 8, "dev": 2, "batch": 3, "epochs": 2, "until_dev": False, "kind": "whisper"}
    return argparse.Namespace(**values)


def sides(bench, given, kind):
    given.kind = kind
    for given.side in bench.SIDES[kind]:
        yield given.side, (bench.train_theirs if given.side == bench.THEIRS else bench.train_ours)(given)


def test_every_side_trains_whisper_and_measures_dev(script, given):
    bench = script("bench/against_transformers.py")
    given.until_dev = True
    for side, timer in sides(bench, given, "whisper"):
        assert len(timer.seconds) == 2 and all(seconds > 0 for seconds in timer.seconds), side
        assert [one["epoch"] for one in timer.evaluations] == [1, 2], side
        assert 0 < timer.evaluations[0]["seconds"] < timer.evaluations[1]["seconds"], side
        assert all(one["dev"] >= 0.5 for one in timer.evaluations), side  # random weights


def test_every_side_trains_a_ctc_head(script, given, monkeypatch):
    bench = script("bench/against_transformers.py")
    monkeypatch.setattr(bench, "CTC_SHAPE", TINY)
    given.kind = "ctc"
    train, dev = bench.load_splits(given)
    assert (len(train), len(dev)) == (8, 2) and set(train["speaker"]) == {"s0", "s1", "s2"}
    bench.make_ctc(given.folder / "ctc", train["text"])
    for side, timer in sides(bench, given, "ctc"):
        assert len(timer.seconds) == 2 and all(seconds > 0 for seconds in timer.seconds), side
        assert timer.preparation_seconds > 0, side
    assert sum(1 for _ in Path(os.environ["SPEECHXFER_FRAMES"]).iterdir()) == 1  # both cached sides use the same cache


def test_an_epoch_has_as_many_batches_as_theirs(script):
    from speechxfer.adaptation.training.batching import DurationBatchSampler

    bench = script("bench/against_transformers.py")
    seconds = [1.0 + 0.37 * (place % 11) for place in range(50)]
    for batch in (4, 16, 50):
        most = bench.find_batch_seconds(seconds, math.ceil(50 / batch))
        assert len(DurationBatchSampler(seconds, max_seconds=most, epochs=1, seed=0)) == math.ceil(50 / batch)


def test_times_until_their_best(script, given, monkeypatch):
    bench = script("bench/against_transformers.py")
    runs = {
        bench.RECIPES: [{"seconds": 10.0, "dev": 0.5}, {"seconds": 20.0, "dev": 0.3}, {"seconds": 30.0, "dev": 0.2}],
        bench.THEIRS: [{"seconds": 100.0, "dev": 0.3}, {"seconds": 200.0, "dev": 0.4}],
    }
    monkeypatch.setattr(bench, "run_process", lambda given, kind, side, **changed: {"measured": runs[side]})
    found = bench.measure_time_to_dev(given)
    assert found["their_best"] == {"seconds": 100.0, "dev": 0.3} and found["ours_as_good"]["seconds"] == 20.0
    assert found["times_as_fast"] == 5.0
    runs[bench.THEIRS][1]["dev"] = 0.1
    found = bench.measure_time_to_dev(given)
    assert found["ours_as_good"] is None and found["times_as_fast"] is None


def test_the_whole_bench_describes_its_turns_in_words_that_it_reads(
    script, tiny_whisper, corpus_table, tmp_path, monkeypatch, capsys
):
    bench = script("bench/against_transformers.py")
    asked: list[argparse.Namespace] = []
    monkeypatch.setattr(bench, "CTC_SHAPE", TINY)
    monkeypatch.setattr(bench, "run_side", asked.append)

    def measured(words, threads):
        bench.main([*words[1:], "--result", str(tmp_path / "result.json")])
        times = 5 if asked[-1].side == bench.THEIRS else 1
        on_dev = [{"epoch": 1.0, "seconds": 6.0 * times, "dev": 0.4}]
        return {"beforehand": times - 1.0, "epochs": [2.0 * times], "measured": on_dev, "peak_memory_mb": 500.0 * times}

    monkeypatch.setattr(bench, "measured", measured)
    words = [str(corpus_table), "--model", str(tiny_whisper), "--utterances", "8", "--threads", "1"]
    bench.main([*words, "--repeats", "2", "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    for kind in ("whisper", "ctc"):
        assert found["training"][kind][bench.OURS]["times_as_fast"]["median"] == 5.0
        assert found["training"][kind][bench.THEIRS]["peak_memory_mb"]["high"] == 2500
    assert [(one.kind, one.utterances, one.epochs) for one in asked[:2]] == [("whisper", 4, 1)] * 2  # to fail early
    assert len(asked) == 7 + 2 * 7 and {one.utterances for one in asked[7:]} == {8}
    assert str(tmp_path) not in (tmp_path / "out.json").read_text()
    table = script("_peers.py").against_transformers(found)
    assert len(table) == 2 + 3 and table[0][1].endswith("0.5 GB")
    assert all(row[2].endswith("10.0 s (10.0 to 10.0), 2.5 GB: 5.00 times (5.00 to 5.00) as fast") for row in table)

    asked.clear()
    bench.main([*words, "--until-dev", "--epochs", "3", "--dev", "2", "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    (row,) = script("_peers.py").time_to_dev(found)
    assert row[1] == "0.1 min (40.0 %)" and row[2].endswith("0.5 min: 5.0 times as fast, one run")
    assert found["until_dev"]["times_as_fast"] == 5.0 and "training" not in found
    assert [(one.side, one.epochs, one.dev, one.until_dev) for one in asked[-2:]] == [
        (bench.RECIPES, 3, 2, True),
        (bench.THEIRS, 3, 2, True),
    ]
    capsys.readouterr()
