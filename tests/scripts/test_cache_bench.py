"""The benchmark of the frame cache on a tiny model: all sides train the same head on the same utterances."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("threads_as_before")


def test_it_runs_in_small(script, tiny_whisper, corpus_table, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SPEECHXFER_FRAMES", "")  # restores it after the test
    target = tmp_path / "cache.json"
    words = ["--every", "3", "--repeats", "2", "--threads", "1", "--batch-seconds", "4"]
    script("bench/cache.py").main([str(corpus_table), "--model", str(tiny_whisper), *words, "--json", str(target)])
    found = json.loads(target.read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert found["utterances"] == 6 and 6 * 0.4 <= found["audio_seconds"] <= 6 * 0.9
    sides = ["from the cache", "encoded again, unpadded", "encoded again, padded to 30 s"]
    rows = script("_peers.py").cache(found)
    for (head, of), row in zip(found["heads"].items(), rows, strict=True):
        assert list(of["seconds_an_epoch"]) == sides and list(of["times_as_long"]) == sides[1:]
        assert all(spent["repeats"] == 2 and spent["low"] > 0 for spent in of["seconds_an_epoch"].values())
        assert of["largest_difference_of_losses"] < 1e-5
        assert head in row[0] and row[0].endswith(sides[0]) and sides[2] in row[2] and "filling" in row[2]
    assert len(rows) == 2
    assert str(tmp_path) not in target.read_text() and str(tiny_whisper.parent) not in target.read_text()


def test_wav2vec2_has_its_own_head_and_no_30_s(script, make_encoder, corpus_table, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHXFER_FRAMES", "")
    target, model = tmp_path / "cache.json", make_encoder("wav2vec2")
    words = ["--family", "wav2vec2", "--every", "6", "--repeats", "1", "--threads", "1", "--json", str(target)]
    script("bench/cache.py").main([str(corpus_table), "--model", str(model), *words])
    found = json.loads(target.read_text())
    ((head, of),) = found["heads"].items()
    assert "wav2vec2" in head and found["command"].endswith("--family wav2vec2")
    assert list(of["times_as_long"]) == ["encoded again, unpadded"] and of["largest_difference_of_losses"] < 1e-5
    assert len(script("_peers.py").cache(found)) == 1
