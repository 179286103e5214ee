"""The scoring benchmarks at small size: coverage of intervals, timing, memory, and the screenshot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


def test_intervals_over_speakers_cover_and_those_over_utterances_do_not(script, monkeypatch, tmp_path):
    bench = script("bench/coverage.py")
    monkeypatch.setattr(bench, "NUM_RESAMPLES", 400)
    found = bench.measure_coverage(40, 10, 300)
    assert found["over_speakers"] >= 0.88 and found["over_utterances"] <= 0.8  # three standard errors off 93 and 64 %
    assert found["width_over_utterances"] < found["width_over_speakers"]
    monkeypatch.setattr(bench, "CORPORA", {"8 of 5": (8, 5)})
    bench.main(["--repeats", "10", "--json", str(tmp_path / "c.json")])
    document = json.loads((tmp_path / "c.json").read_text())
    assert set(document["coverage"]) == {"8 of 5"} and document["repeats"] == 10 and document["versions"]["numpy"]


def test_scoring_is_measured_beside_jiwer(script, tmp_path):
    bench = script("bench/score.py")
    bench.main(["--pairs", "300", "--repeats", "2", "--json", str(tmp_path / "s.json")])
    found = json.loads((tmp_path / "s.json").read_text())
    assert set(found["of_jiwer"]) == {"read and score, min", "read and score, sclite", "score alone, min"}
    for name, (low, high) in found["range"].items():
        assert 0 < low <= found["seconds"][name] <= high
    assert "speechxfer score" in found["programs"]
    assert all(0 < of["peak_memory_mb"] < 500 for of in found["programs"].values())
    assert len(script("tables.py").score(found)) == 3


def test_large_inputs_are_scored(script, tmp_path):
    bench = script("bench/score_large.py")
    bench.main(["--share", "0.0005", "--repeats", "1", "--json", str(tmp_path / "l.json")])
    found = json.loads((tmp_path / "l.json").read_text())
    names = ["500 rows", "50 words in one utterance", "1 words with notation", "10 alternatives"]
    assert list(found["inputs"]) == names
    assert [row[0] for row in script("tables.py").score_large(found)] == [
        f"`speechxfer score`, {name}" for name in names
    ]


def test_the_errors_of_the_large_inputs_are_as_stated(script, tmp_path):
    """Counted by jiwer: a fifth of the words of the long utterance."""
    import jiwer

    bench = script("bench/score_large.py")
    files = bench.write_inputs(tmp_path, share=0.1)["10,000 words in one utterance"]
    reference, hypothesis = (" ".join(Path(file).read_text().split()[:-1]) for file in files[:2])
    assert jiwer.wer(reference, hypothesis) == pytest.approx(0.2, abs=0.02)


def test_memory_is_that_of_the_program_not_of_its_starter(script):
    bench = script("bench/score.py")
    held = bytearray(300_000_000)  # this process is as large as a corpus
    assert bench.run_program(["true"])["peak_memory_mb"] < 100
    assert len(held)


def test_a_picture_of_an_example(script, monkeypatch, tmp_path):
    picture = script("picture.py")
    before, after = picture.make_example().values()
    assert before.ids == after.ids and before.wer > after.wer and len(before.by["accent"]) == len(picture.ACCENTS)
    if shutil.which("chromium") is None:
        pytest.skip("Debian's chromium is not installed")
    monkeypatch.setattr(
        "sys.argv", ["picture.py", str(tmp_path / "docs" / "r.png"), "--width", "400", "--height", "300"]
    )
    picture.main()
    data = (tmp_path / "docs" / "r.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and [int.from_bytes(data[k : k + 4]) for k in (16, 20)] == [400, 300]
