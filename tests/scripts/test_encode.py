"""The encoding bench in small: the two padded sides do the same work, and every utterance is encoded by all three."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("threads_as_before")


def test_it_runs_in_small(script, tiny_whisper, corpus_table, tmp_path, capsys):
    target = tmp_path / "encode.json"
    words = ["--every", "5", "--repeats", "2", "--threads", "1", "--batch-seconds", "4"]
    script("bench/encode.py").main([str(corpus_table), "--model", str(tiny_whisper), *words, "--json", str(target)])
    found = json.loads(target.read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert found["utterances"] == 4  # of 18
    assert 4 * 0.4 <= found["audio_seconds"] <= 4 * 0.9
    assert found["largest_difference_from_transformers"] < 1e-5
    assert list(found["seconds"]) == ["unpadded", "padded to 30 s", "transformers, padded to 30 s"]
    for steps in found["seconds"].values():
        assert 0 < steps["encoder"]["low"] <= steps["both"]["low"] <= steps["both"]["high"]
        assert steps["log-mel"]["low"] < steps["both"]["low"]
    assert set(found["times_as_long"]) == {"padded to 30 s", "transformers, padded to 30 s"}
    assert found["threads"] == 1
    (row,) = script("tables.py").encode(found)
    assert "one utterance in 5 of" in row[0] and row[2].count("times") == 2
    assert str(tmp_path) not in target.read_text() and str(tiny_whisper.parent) not in target.read_text()


def test_all_sides_encode_every_utterance_in_batches_of_as_many_seconds(script, tiny_whisper):
    from speechxfer.models import load

    bench = script("bench/encode.py")
    model = load(tiny_whisper, device="cpu")
    rng = np.random.default_rng(0)
    waveforms = [rng.standard_normal(samples).astype(np.float32) for samples in (8_000, 4_000, 12_000, 16_000, 5_000)]
    sides = bench.sides(model, waveforms, batch_seconds=4)
    lengths = {name: [[len(w) for w in batch] for batch in side.batches] for name, side in sides.items()}
    for batches in lengths.values():
        assert sorted(length for batch in batches for length in batch) == [4_000, 5_000, 8_000, 12_000, 16_000]
    assert lengths["unpadded"] == [[16_000, 12_000, 8_000, 5_000], [4_000]]  # longest times count within 4 s
    assert lengths["padded to 30 s"] == [[16_000, 12_000], [8_000, 5_000], [4_000]]  # this model's 30 s are two
    frames = {name: side.frames(side.mel(side.batches[0])).shape[1] for name, side in sides.items()}
    assert frames == {"unpadded": 50, "padded to 30 s": 100, "transformers, padded to 30 s": 100}
